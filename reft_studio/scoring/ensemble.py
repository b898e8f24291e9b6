"""Combines several scorers: by mean rank in the file, by calibrated log odds, or by whether any of them flags a row."""

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
"""The score of a row for which every member is at its maximum."""
STEPS = 50
"""Newton steps of a fit with two parameters; it converges in ten."""
STEP = 2 / (BINS - 1)
"""One step of the grid on which scores are compared."""
RIDGE = 1e-2
"""Keeps the slope finite where a member separates its calibration examples perfectly."""


class Ensemble(Scorer):
    """The mean of its members on a common scale, or the highest of them relative to their thresholds."""

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
        """Combine prepared scorers. Raises SpecError with fewer than two, StoreError if one lacks the calibration that log odds need."""
        members = [open_prepared(workspace, name) for name in dict.fromkeys(spec.members)]
        if len({member.id for member in members}) < 2:
            raise SpecError(f"An ensemble joins at least two scorers; {len(members)} given. Name them by id, e.g. tfidf and lab.")
        name = id_of(spec, [[member.id, member.created] for member in members])
        if not workspace.folder("scorers", name).is_dir():
            lines = [_line(member) for member in members] if spec.join == "log_odds" else []
            with sealed_folder(workspace.folder("scorers", name)) as building:
                write_facts(
                    building,
                    scorer=spec.scorer,
                    title=" + ".join(member.title for member in members),
                    threshold=0.0,
                    calibration={},
                    spec={**spec.model_dump(mode="json"), "members": [[member.id, member.created] for member in members], "lines": lines},
                    record={},
                )
        return opened(workspace, name)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        """The settings, with the dates on which its members were prepared."""
        return {"version": 1, "join": prepared.spec["join"], "members": prepared.spec["members"], "lines": prepared.spec["lines"]}

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """Score with every member that has not scored the dataset yet, then combine; a row without a score from one member has none."""
        if (ready := self.stored(workspace, dataset, prepared)) is not None:
            return ready
        members, sets = _members(workspace, prepared), list[ScoreSet]()
        for number, member in enumerate(members):
            part = PartialProgress(progress, start=number / len(members), share=1 / len(members))
            sets.append(SCORERS.get(member.scorer)().score(workspace, dataset, member, part))
        table = np.stack([score_set.scores() for score_set in sets])
        if prepared.spec["join"] == "rank":
            values = np.asarray(np.mean([ranks(score_set) for score_set in table], axis=0), dtype=np.float32)
            threshold = _flagging(values, np.mean([flagged(score_set.scores(), score_set.threshold).sum() for score_set in sets]))
        elif prepared.spec["join"] == "any":
            values, threshold = np.max([beyond(score_set.scores(), score_set.threshold) for score_set in sets], axis=0), 0.0
        else:
            values, threshold = log_odds(table, prepared.spec["lines"]), 0.0
        values[np.isnan(table).any(axis=0)] = np.nan
        result = Scored(values, np.where(np.isnan(values), NO_MEMBER, 0).astype(np.uint8), dataset.rows)
        progress.progress(dataset.rows, dataset.rows)
        return self.store(workspace, dataset, prepared, result, {"members": [score_set.key for score_set in sets]}, threshold=threshold)


def _members(workspace: Workspace, prepared: Prepared) -> list[Prepared]:
    """The members as they were when combined. Raises StoreError if one is gone or was prepared again since."""
    members = [open_prepared(workspace, name) for name, _ in prepared.spec["members"]]
    for member, (_, created) in zip(members, prepared.spec["members"], strict=True):
        if member.created != created:
            raise StoreError(f"'{member.id}' was prepared anew since '{prepared.title}' joined it. Prepare the ensemble again.")
    return members


def ranks(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) ranks of scores as -1..1, ties sharing their mean rank; NaN stays NaN."""
    scaled = np.full(len(scores), np.nan)
    scored = ~np.isnan(scores)
    _, index, counts = np.unique(scores[scored], return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2  # counted from 1
    scaled[scored] = 2 * (middle[index] - 0.5) / max(1, int(scored.sum())) - 1
    return scaled


def beyond(scores: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """(n,) distance of scores from a threshold, scaled to -1..1: at least 0 for exactly those flagged at it."""
    over = flagged(scores, threshold)
    room = np.where(over, max(1 - threshold, STEP), max(1 + threshold, STEP))
    away = np.clip((scores - threshold) / room, -1, 1)
    return np.where(over, np.maximum(away, 0), np.minimum(away, -STEP)).astype(np.float32)


def log_odds(table: NDArray[np.float32], lines: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """(n,) tanh of the mean over members of a + b·score, scaled so that the maximum of all members gives SATURATION."""
    fitted = np.array(lines, dtype=np.float64)
    mean = np.mean(fitted[:, :1] + fitted[:, 1:] * table, axis=0)
    most = float(np.mean(np.abs(fitted).sum(axis=1)))
    return np.asarray(np.tanh(mean * np.arctanh(SATURATION) / most), dtype=np.float32)


def _line(member: Prepared) -> list[float]:
    """a, b of the log odds a + b·score on a member's calibration set, both kinds weighted equally: even odds give 0."""
    try:
        rows = pq.read_table(member.folder / "calibration.parquet", columns=["kind", "score"])
    except OSError as exc:
        raise StoreError(f"'{member.id}' has no calibration, so its scores have no log odds. Leave it out, or join by rank.") from exc
    harmful = np.array(rows.column("kind").to_pylist()) == "harmful"
    scores = rows.column("score").to_numpy().astype(np.float64)
    design, weight = np.column_stack([np.ones(len(scores)), scores]), np.where(harmful, 0.5 / harmful.sum(), 0.5 / (~harmful).sum())
    line = np.zeros(2)
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-(design @ line)))
        slope = design.T @ (weight * (harmful - chance)) - RIDGE * line
        curve = (design * (weight * chance * (1 - chance))[:, None]).T @ design + RIDGE * np.eye(2)
        line += np.linalg.solve(curve, slope)
    return [round(float(value), 6) for value in line]


def _flagging(values: NDArray[np.float32], wanted: float) -> float:
    """The score at or above which about `wanted` rows are, at most 1."""
    descending = np.sort(values[~np.isnan(values)])[::-1]
    return float(descending[min(len(descending), max(1, round(wanted))) - 1]) if len(descending) and wanted >= 0.5 else 1.0
