"""Scores each row by the cosine of its prompt's feature, under the teacher, to the refusal feature (arXiv:2506.07356)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset
from reft_studio.errors import DataError, SpecError
from reft_studio.models.batching import Encoder
from reft_studio.models.features import last_prompt_features
from reft_studio.models.merging import mergeable, merged
from reft_studio.models.session import Session
from reft_studio.progress import Progress
from reft_studio.scoring import OF_TEACHER
from reft_studio.scoring.cache import ScoreCache
from reft_studio.scoring.content import already, prompt_key, teacher_content
from reft_studio.scoring.engine import Engine, Similarity
from reft_studio.scoring.partial import PartialScores, ScoreHeader
from reft_studio.scoring.resumable import ShardWork
from reft_studio.scoring.scorer import drift
from reft_studio.scoring.scores import ScoreSet, score_key, write_scores
from reft_studio.scoring.shards import REASONS, Shard, shards
from reft_studio.scoring.work import Scored, work_folder
from reft_studio.teacher.refusal_feature import RefusalFeature
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.workspace import Workspace


def score(
    workspace: Workspace,
    dataset: Dataset,
    teacher: TeacherInfo,
    session: Session,
    progress: Progress,
    *,
    first: NDArray[np.float32] | None = None,
) -> ScoreSet:
    """Score every row and store the result; a row with several user turns gets the highest cosine among them.

    Only prompts are read, so editing a response changes no score. A dataset that was scored with this teacher is not scored
    again; cached prompts are looked up; an interrupted run resumes, to the same bits. `first` as in `states_scored`.
    """
    check_match(session, teacher)
    if (ready := already(workspace, dataset, teacher, scorer=OF_TEACHER)) is not None:
        progress.progress(dataset.rows, dataset.rows)
        return ready
    started = time.perf_counter()
    content, similarity = teacher_content(teacher), _feature(teacher).similarity
    scoring = states_scored(
        workspace, dataset, teacher, session, progress, content=content, similarity=similarity, header=_made(teacher), first=first
    )
    with scoring as (result, numerics):
        info = {
            **facts(result, teacher, numerics, longest=longest_prompt(session, teacher)),
            "seconds": round(time.perf_counter() - started, 3),
        }
        return _write(workspace, dataset, teacher, result, info)


@contextmanager
def states_scored(
    workspace: Workspace,
    dataset: Dataset,
    teacher: TeacherInfo,
    session: Session,
    progress: Progress,
    *,
    content: dict[str, Any],
    similarity: Similarity,
    header: ScoreHeader,
    first: NDArray[np.float32] | None = None,
) -> Iterator[tuple[Scored, dict[str, Any]]]:
    """Scores of every row by a function of the teacher's states at the last prompt token, and the numerics used.

    `content` is everything a score depends on: prompt scores are cached and unfinished work is resumed under it until the block ends; write
    the result inside the block, with `header`. Before that, the app reads snapshots: see `PartialScores`.

    `first`: (rows,) rows with high values are scored before those with low ones, within each shard of the file. Other batches change last
    digits only.
    """
    check_match(session, teacher)
    with _scorer(teacher, session, similarity) as (engine, numerics):
        key = prompt_key(content, **numerics)
        encoder = Encoder(session.model, max_length=teacher.max_length)
        with work_folder(workspace, f"{dataset.id}-{key[:16]}") as folder:
            work = ShardWork(folder, engine, encoder, ScoreCache(workspace, key), key)
            result = Scored.empty(dataset.rows)
            partial = PartialScores(workspace, dataset, result, **header)
            with partial.shown():
                for shard in shards(dataset):
                    result.take(_shard(work, shard, result, partial, progress, first))
                    progress.progress(result.rows, dataset.rows)
                yield result, numerics


def _shard(
    work: ShardWork, shard: Shard, result: Scored, partial: PartialScores, progress: Progress, first: NDArray[np.float32] | None
) -> Scored:
    """Score one shard's rows, which are put into `result` and shown as they come."""
    before, rows, total = result.rows, shard.rows, len(result.scores)

    def show(so_far: Callable[[], tuple[NDArray[np.float32], NDArray[np.uint8]]]) -> None:
        if partial.due:
            result.put(before, *so_far())
            partial.write()

    return work.scored(
        shard,
        lambda share: progress.progress(before + int(share * rows), total),
        first=None if first is None else first[before : before + rows],
        show=show,
    )


def score_prompts(prompts: list[str], teacher: TeacherInfo, session: Session) -> NDArray[np.float32]:
    """Cosines of single prompts, e.g. typed into the chat."""
    check_match(session, teacher)
    encoder = Encoder(session.model, max_length=teacher.max_length)
    ids = [encoder.prompt_ids([{"role": "user", "content": prompt}]) for prompt in prompts]
    if not all(ids):
        raise DataError("The prompt is empty in this template, so it has no score. Write something.")
    adapter = session.ensure("teacher", teacher.adapter)
    with session.adapted.active(adapter) as backbone:
        features = last_prompt_features(session.model, backbone, ids, layers=[teacher.layer])
    return _feature(teacher).similarity(features[:, 0]).numpy().astype(np.float32)


def check_match(session: Session, teacher: TeacherInfo) -> None:
    """Raises SpecError if the teacher was prepared on another base, with another template, or in another number format."""
    model = session.model
    if teacher.base_fingerprint != model.fingerprint:
        raise SpecError(f"The teacher '{teacher.id}' was prepared on another base than '{model.source}'. Prepare a teacher for this model.")
    if teacher.template_hash != model.template.hash:
        raise SpecError(f"The teacher '{teacher.id}' was prepared with another prompt template. Prepare it again or use its template.")
    if not 1 <= teacher.layer <= model.layers:
        raise SpecError(
            f"The teacher '{teacher.id}' reads decoder block {teacher.layer}, but '{model.source}' has blocks 1 to {model.layers}. "
            "Prepare a teacher for this model."
        )
    width, stored_width = int(model.base.config.get_text_config().hidden_size), len(_feature(teacher).direction)
    if width != stored_width:
        raise SpecError(
            f"The refusal feature of '{teacher.id}' has {stored_width} numbers, but the hidden states of '{model.source}' have {width}. "
            "Prepare a teacher for this model."
        )
    required, numerics = teacher.loading, numerics_of(session)
    for name, expected in (("dtype", required.dtype), ("quantization", required.quantization)):
        if expected not in ("auto", numerics[name]):
            raise SpecError(
                f"The teacher '{teacher.id}' was prepared with {name} {expected}, but '{model.source}' is loaded with {numerics[name]}. "
                "Scores and thresholds hold for one of them only: load the model alike, or prepare the teacher again."
            )


def numerics_of(session: Session) -> dict[str, str]:
    """How a model computes: number format, quantisation, attention and the kind of device."""
    used = session.model.loading
    dtype = used.dtype if used.dtype != "auto" else str(next(session.model.base.parameters()).dtype).removeprefix("torch.")
    return {"dtype": dtype, "quantization": used.quantization, "attention": used.attention, "device": session.model.device.type}


@contextmanager
def _scorer(teacher: TeacherInfo, session: Session, similarity: Similarity) -> Iterator[tuple[Engine, dict[str, Any]]]:
    """The engine of a teacher, its adapter merged where that can be undone, and the numerics it computes with."""
    adapter = session.ensure("teacher", teacher.adapter)
    fold = adapter is not None and mergeable(session.adapted, adapter, layer=teacher.layer)
    state = merged(session.adapted, adapter, layer=teacher.layer) if adapter and fold else session.adapted.active(adapter)
    with state as backbone, torch.no_grad():
        yield Engine(session.model, backbone, similarity, layer=teacher.layer), {**numerics_of(session), "merged": fold}


def _feature(teacher: TeacherInfo) -> RefusalFeature:
    return RefusalFeature.load(teacher.folder / "refusal_feature.safetensors", layer=teacher.layer)


def longest_prompt(session: Session, teacher: TeacherInfo) -> int:
    """The token limit of prompts when this teacher scores."""
    return Encoder(session.model, max_length=teacher.max_length).longest_prompt


def facts(result: Scored, teacher: TeacherInfo, numerics: dict[str, Any], *, longest: int) -> dict[str, Any]:
    """Metadata of scores: how they were made, and how far the file is from the calibration set.

    `longest`: the token limit of a prompt.
    """
    missing = {name: count for code, name in REASONS.items() if (count := int((result.reasons == code).sum()))}
    values = {
        "layer": teacher.layer,
        "template_hash": teacher.template_hash,
        "cut_at": longest,
        **numerics,
        **result.counts,
        "missing_reasons": missing,
        **drift(result.scores, teacher),
    }
    if teacher.is_lab:
        values["unfamiliar_share"] = result.unfamiliar
    return values


def _write(workspace: Workspace, dataset: Dataset, teacher: TeacherInfo, result: Scored, info: dict[str, Any]) -> ScoreSet:
    return write_scores(
        workspace,
        dataset,
        result.scores,
        **_made(teacher),
        info=info,
        reasons=result.reasons,
        names=REASONS,
        content=teacher_content(teacher),
        cut=result.cut,
    )


def _made(teacher: TeacherInfo) -> ScoreHeader:
    return {
        "key": score_key(OF_TEACHER, teacher.id, teacher.created),
        "scorer": OF_TEACHER,
        "teacher": teacher.id,
        "threshold": teacher.threshold,
    }
