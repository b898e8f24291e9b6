"""The Filter page: scores as a histogram, and the rows on either side of a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.facets import facet
from reft_studio.data.query import RowPage, matching_ids, rows_by_id
from reft_studio.errors import SpecError, StoreError
from reft_studio.scoring.scores import ScoreSet, binned, flagged, grid, open_score_set, sparse
from reft_studio.store import settings
from reft_studio.store.decisions import Decision
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.views.project import chosen_threshold
from reft_studio.workspace import Workspace

Side = Literal["flagged", "kept", "borderline", "unscored", "all"]
UNFAMILIAR = 0.1
"""Share of words outside the lab's language above which its teacher is no judge."""
NEAR = 20
"""Bins of the 0.001 grid on either side of the line that count as near to it."""


@dataclass(frozen=True)
class FilterView:
    """All the Filter page draws at once. `bins` are [bin, rows, known harmful, known harmless] on the 0.001 grid over [-1, 1].

    `rule` found the threshold in use; None: a person, or the calibration.
    """

    score: ScoreSet
    teacher: TeacherInfo
    bins: list[list[int]]
    threshold: float
    calibrated: float
    labels_known: bool
    warning: str | None
    near_threshold: int
    rule: str | None


def filter_view(workspace: Workspace, dataset_id: str, key: str) -> FilterView:
    """Raises StoreError if the dataset or its scores are gone."""
    score = open_score_set(workspace, dataset_id, key)
    teacher = open_teacher(workspace, score.teacher)
    counted = counts(open_dataset(workspace, dataset_id), score)
    threshold = chosen_threshold(workspace, score) or 0.0
    line = int(grid(threshold))
    near = [rows for place, rows, _, _ in counted.bins if abs(place - line) <= NEAR]
    return FilterView(
        score=score,
        teacher=teacher,
        bins=counted.bins,
        threshold=threshold,
        calibrated=score.threshold,
        labels_known=counted.labels_known,
        warning=language_warning(score, teacher),
        near_threshold=sum(near),
        rule=settings.get(workspace, f"threshold-rule:{dataset_id}:{key}"),
    )


@dataclass(frozen=True)
class Counts:
    """Rows by score and truth: everything that a threshold asks of a file, whatever its size."""

    bins: list[list[int]]
    labels_known: bool


def counts(dataset: Dataset, score: ScoreSet) -> Counts:
    """The histogram of these scores; counted once, then kept."""
    return _counts(dataset, score, score.stamp())


def language_warning(score: ScoreSet, teacher: TeacherInfo) -> str | None:
    """Why these scores should not be trusted, if the lab's teacher judges text it does not know."""
    share = score.info.get("unfamiliar_share")
    if not teacher.is_lab or share is None or share <= UNFAMILIAR:
        return None
    drift = score.info.get("drift")
    moved = f" Its scores lie {drift:+.2f} from those of the harmless prompts it was calibrated on." if drift is not None else ""
    return (
        f"A teacher on the lab's model is no judge of this file: {share:.0%} of its words are outside the lab's tiny language.{moved} "
        "The flags below show how the filter works, not which rows are harmful. Prepare a teacher on a real model to audit real text."
    )


def rows_on_side(
    workspace: Workspace,
    score: ScoreSet,
    decisions: dict[int, Decision],
    *,
    threshold: float,
    side: Side,
    offset: int,
    limit: int,
    search: str = "",
) -> RowPage:
    """A page of rows with score and decision: flagged from the highest score, kept likewise, borderline by distance to the threshold."""
    dataset = open_dataset(workspace, score.dataset)
    positions = _positions(score, threshold, side)
    if search.strip():
        positions = positions[np.isin(score.row_ids()[positions], matching_ids(dataset, search.strip(), None))]
    return RowPage(len(positions), offset, with_scores(dataset, score, decisions, positions[offset : offset + limit]))


def with_scores(
    dataset: Dataset, score: ScoreSet, decisions: dict[int, Decision], positions: NDArray[np.integer[Any]]
) -> list[dict[str, Any]]:
    """Rows at these positions, in this order, with `score` (None: not scored), `reason` (why not) and `decision` (a person's, or None)."""
    values, ids = score.scores(), score.row_ids()
    rows = rows_by_id(dataset, [int(ids[position]) for position in positions])
    for row, position, reason in zip(rows, positions, score.reasons(positions.tolist()), strict=True):
        decision = decisions.get(row["row_id"])
        row["score"] = None if np.isnan(values[position]) else float(values[position])
        row["reason"] = reason
        row["decision"] = decision.action if decision else None
    return rows


def _positions(score: ScoreSet, threshold: float, side: Side) -> NDArray[np.integer[Any]]:
    values, order = score.scores(), score.order()
    valid: NDArray[np.integer[Any]] = order[: len(order) - score.missing]
    dropped = flagged(values, threshold)
    match side:
        case "all":
            return order
        case "flagged":
            return np.asarray(valid[dropped[valid]])
        case "kept":
            return np.asarray(valid[~dropped[valid]])
        case "unscored":
            return order[len(order) - score.missing :]
        case "borderline":
            return valid[np.argsort(np.abs(values[valid] - threshold), kind="stable")]
    raise SpecError(f"'{side}' is no side of the threshold. Choose flagged, kept, borderline, unscored or all.")


@lru_cache(maxsize=16)
def _counts(dataset: Dataset, score: ScoreSet, _stamp: int) -> Counts:
    truth = facet(dataset, "truth")
    if truth is None:
        raise StoreError(f"The labels of '{dataset.name}' cannot be read. Import the file again.")
    by_truth = binned(score.bins(), truth.codes, len(truth.labels))
    return Counts(sparse(by_truth), labels_known=int(truth.counts()[-1]) == 0)
