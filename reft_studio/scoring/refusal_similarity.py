"""Score each row by the cosine of its prompt's feature, under the teacher, to the refusal feature (arXiv:2506.07356)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset
from reft_studio.data.templates import text_of
from reft_studio.errors import SpecError
from reft_studio.models.batching import Encoder
from reft_studio.models.features import last_prompt_features
from reft_studio.models.session import Session
from reft_studio.progress import Progress, Silent
from reft_studio.scoring.scores import ScoreSet, score_key, write_scores
from reft_studio.teacher.refusal_feature import RefusalFeature
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.workspace import Workspace

NAME = "refusal_similarity"
CHUNK = 4096
"""Prompts in memory at once."""


def score(workspace: Workspace, dataset: Dataset, teacher: TeacherInfo, session: Session, progress: Progress) -> ScoreSet:
    """Score every row and store the result; a row with several user turns gets the highest cosine among them.

    Only prompts are read, so editing a response changes no score. Each distinct prompt is computed once.
    """
    check_match(session, teacher)
    started = time.perf_counter()
    distinct: dict[str, int] = {}
    turns = [[distinct.setdefault(turn, len(distinct)) for turn in row] for row in _user_turns(dataset)]
    encoder = Encoder(session.model, max_length=teacher.max_length)
    cosines = _cosines(list(distinct), teacher, session, encoder, progress)
    scores = np.array([max((cosines[turn] for turn in row), default=np.nan) for row in turns], dtype=np.float32)
    missing = int(np.isnan(scores).sum())
    info: dict[str, Any] = {
        "layer": teacher.layer,
        "template_hash": teacher.template_hash,
        "distinct_prompts": len(distinct),
        "truncated": encoder.truncated,
        "seconds": round(time.perf_counter() - started, 3),
        "missing_reasons": {"no user turn, or a score that is not finite": missing} if missing else {},
        **_drift(scores, teacher),
    }
    if teacher.is_lab:
        info["unfamiliar_share"] = _unfamiliar(list(distinct)[:2000])
    key = score_key(NAME, teacher.id, teacher.created)
    return write_scores(workspace, dataset, scores, key=key, scorer=NAME, teacher=teacher.id, threshold=teacher.threshold, info=info)


def score_prompts(prompts: list[str], teacher: TeacherInfo, session: Session) -> NDArray[np.float32]:
    """Cosines of single prompts, e.g. what was just typed into the chat."""
    check_match(session, teacher)
    return _cosines(prompts, teacher, session, Encoder(session.model, max_length=teacher.max_length), Silent())


def check_match(session: Session, teacher: TeacherInfo) -> None:
    """Raises SpecError if the teacher was prepared on another base or with another template."""
    if teacher.base_fingerprint != session.model.fingerprint:
        raise SpecError(
            f"The teacher '{teacher.id}' was prepared on another base than '{session.model.source}'. Prepare a teacher for this model."
        )
    if teacher.template_hash != session.model.template.hash:
        raise SpecError(f"The teacher '{teacher.id}' was prepared with another prompt template. Prepare it again or use its template.")


def _cosines(prompts: list[str], teacher: TeacherInfo, session: Session, encoder: Encoder, progress: Progress) -> NDArray[np.float32]:
    feature = RefusalFeature.load(teacher.folder / "refusal_feature.safetensors", layer=teacher.layer)
    adapter = session.ensure("teacher", teacher.adapter)
    parts = []
    with session.adapted.active(adapter) as backbone:
        for start in range(0, len(prompts), CHUNK):
            ids = [encoder.prompt_ids([{"role": "user", "content": prompt}]) for prompt in prompts[start : start + CHUNK]]

            def report(done: int, base: int = start) -> None:
                progress.progress(base + done, len(prompts))

            features = last_prompt_features(session.model, backbone, ids, layers=[teacher.layer], progress=report)
            parts.append(feature.similarity(features[:, 0]).numpy())
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, dtype=np.float32)


def _user_turns(dataset: Dataset) -> Iterator[list[str]]:
    for row in dataset.read(["prompt", "messages"]):
        turns = [text_of(turn.get("content")) for turn in json.loads(row["messages"]) if turn.get("role") == "user"]
        yield [turn for turn in turns if turn] or ([row["prompt"]] if row["prompt"] else [])


def _drift(scores: NDArray[np.float32], teacher: TeacherInfo) -> dict[str, float]:
    """How far the median of this file lies from that of the harmless calibration prompts, in cosine."""
    known = teacher.calibration.get("harmless_quantiles")
    valid = scores[~np.isnan(scores)]
    if not known or not len(valid):
        return {}
    return {
        "median": round(float(np.median(valid)), 5),
        "calibration_median": known[2],
        "drift": round(float(np.median(valid)) - known[2], 5),
    }


def _unfamiliar(prompts: list[str]) -> float:
    from reft_studio.lab.sets import unfamiliar_share

    return round(unfamiliar_share(prompts), 4)
