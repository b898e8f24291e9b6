"""Several scorers as one: by the mean of their ranks in the file, of their calibrated log odds, or by whether any of them flags a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset
from reft_studio.data.grid import BINS
from reft_studio.errors import SpecError, StoreError
from reft_studio.integrity import sealed_folder
from reft_studio.progress import PartialProgress, Progress
from reft_studio.scoring import SCORERS
from reft_studio.scoring.prepared import Prepared, PreparedScorer, open_prepared, write_facts
from reft_studio.scoring.preparing import id_of, opened
from reft_studio.scoring.scorer import Examples, Scorer, ScorerInfo, ScorerSpec
from reft_studio.scoring.scores import ScoreSet, flagged
from reft_studio.scoring.shards import NO_MEMBER
from reft_studio.scoring.work import Scored
from reft_studio.workspace import Workspace

SATURATION = 0.95
"""The score of a row that every member is as sure of as it can be."""
STEPS = 50
"""Newton steps of a fit with two numbers; it is done in ten."""
STEP = 2 / (BINS - 1)
"""One step of the grid on which scores are compared."""
RIDGE = 1e-2
"""Keeps the slope finite where a member separates its calibration examples perfectly."""


class Ensemble(Scorer):
    """The mean of its members on a scale on which they can be added, or the highest of them, each from its own threshold on."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="ensemble",
        title="Ensemble",
        reads="members",
        misses="What all of its members miss; by mean rank also how many rows are harmful, since ranks are the same in any file.",
        needs="nothing",
        cost="that of its members",
        measure="mean of the members",
    )

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """Join prepared scorers. Raises SpecError with fewer than two, StoreError if one lacks the calibration that log odds need."""
        members = [open_prepared(workspace, name) for name in dict.fromkeys(spec.members)]
        if len({one.id for one in members}) < 2:
            raise SpecError(f"An ensemble joins at least two scorers; {len(members)} given. Name them by id, e.g. tfidf and lab.")
        name = id_of(spec, [[one.id, one.created] for one in members])
        if not workspace.folder("scorers", name).is_dir():
            lines = [_line(one) for one in members] if spec.join == "log_odds" else []
            with sealed_folder(workspace.folder("scorers", name)) as building:
                write_facts(
                    building,
                    scorer=spec.scorer,
                    title=" + ".join(one.title for one in members),
                    threshold=0.0,
                    calibration={},
                    spec={**spec.model_dump(mode="json"), "members": [[one.id, one.created] for one in members], "lines": lines},
                    record={},
                )
        return opened(workspace, name)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        """The recipe, with the days on which its members were made."""
        return {"version": 1, "join": prepared.spec["join"], "members": prepared.spec["members"], "lines": prepared.spec["lines"]}

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """Score with every member that has not scored the dataset yet, then join; a row that one of them cannot score has no score."""
        if (ready := self.stored(workspace, dataset, prepared)) is not None:
            return ready
        members, sets = _members(workspace, prepared), list[ScoreSet]()
        for place, member in enumerate(members):
            part = PartialProgress(progress, start=place / len(members), share=1 / len(members))
            sets.append(SCORERS.get(member.scorer)().score(workspace, dataset, member, part))
        table = np.stack([one.scores() for one in sets])
        if prepared.spec["join"] == "rank":
            values = np.asarray(np.mean([ranks(one) for one in table], axis=0), dtype=np.float32)
            threshold = _flagging(values, np.mean([flagged(one.scores(), one.threshold).sum() for one in sets]))
        elif prepared.spec["join"] == "any":
            values, threshold = np.max([beyond(one.scores(), one.threshold) for one in sets], axis=0), 0.0
        else:
            values, threshold = log_odds(table, prepared.spec["lines"]), 0.0
        values[np.isnan(table).any(axis=0)] = np.nan
        result = Scored(values, np.where(np.isnan(values), NO_MEMBER, 0).astype(np.uint8), dataset.rows)
        progress.progress(dataset.rows, dataset.rows)
        return self.store(workspace, dataset, prepared, result, {"members": [one.key for one in sets]}, threshold=threshold)


def _members(workspace: Workspace, prepared: Prepared) -> list[Prepared]:
    """The members as they were when they were joined. Raises StoreError if one is gone or was prepared anew since."""
    found = [open_prepared(workspace, name) for name, _ in prepared.spec["members"]]
    for member, (_, created) in zip(found, prepared.spec["members"], strict=True):
        if member.created != created:
            raise StoreError(f"'{member.id}' was prepared anew since '{prepared.title}' joined it. Prepare the ensemble again.")
    return found


def ranks(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) ranks of scores as -1..1, equal scores sharing the mean of theirs; NaN stays NaN."""
    found = np.full(len(scores), np.nan)
    there = ~np.isnan(scores)
    _, place, counts = np.unique(scores[there], return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2  # counted from 1
    found[there] = 2 * (middle[place] - 0.5) / max(1, int(there.sum())) - 1
    return found


def beyond(scores: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """(n,) how far scores lie beyond a threshold, as -1..1: at least 0 for exactly those that are flagged there."""
    over = flagged(scores, threshold)
    room = np.where(over, max(1 - threshold, STEP), max(1 + threshold, STEP))
    away = np.clip((scores - threshold) / room, -1, 1)
    return np.where(over, np.maximum(away, 0), np.minimum(away, -STEP)).astype(np.float32)


def log_odds(table: NDArray[np.float32], lines: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """(n,) the mean over members of a + b·score, as tanh, so that where all are as sure as they can be SATURATION is reached."""
    fitted = np.array(lines, dtype=np.float64)
    mean = np.mean(fitted[:, :1] + fitted[:, 1:] * table, axis=0)
    most = float(np.mean(np.abs(fitted).sum(axis=1)))
    return np.asarray(np.tanh(mean * np.arctanh(SATURATION) / most), dtype=np.float32)


def _line(member: Prepared) -> list[float]:
    """a, b of the log odds a + b·score on a member's calibration, both kinds weighing the same: where they are even, the sum is 0."""
    try:
        rows = pq.read_table(member.folder / "calibration.parquet", columns=["kind", "score"])
    except OSError as exc:
        raise StoreError(f"'{member.id}' has no calibration, so its scores have no log odds. Leave it out, or join by rank.") from exc
    harmful = np.array(rows.column("kind").to_pylist()) == "harmful"
    scores = rows.column("score").to_numpy().astype(np.float64)
    design, weight = np.column_stack([np.ones(len(scores)), scores]), np.where(harmful, 0.5 / harmful.sum(), 0.5 / (~harmful).sum())
    found = np.zeros(2)
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-(design @ found)))
        slope = design.T @ (weight * (harmful - chance)) - RIDGE * found
        curve = (design * (weight * chance * (1 - chance))[:, None]).T @ design + RIDGE * np.eye(2)
        found += np.linalg.solve(curve, slope)
    return [round(float(value), 6) for value in found]


def _flagging(values: NDArray[np.float32], wanted: float) -> float:
    """The score at or above which about `wanted` rows lie, at most 1."""
    there = np.sort(values[~np.isnan(values)])[::-1]
    return float(there[min(len(there), max(1, round(wanted))) - 1]) if len(there) and wanted >= 0.5 else 1.0
