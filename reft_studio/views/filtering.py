"""The Filter page: scores as a histogram, and the rows on either side of a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reft_studio import stats
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.query import RowPage, matching_ids, rows_by_id
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import ScoreSet, flagged, grid, histogram, open_score_set
from reft_studio.store import settings
from reft_studio.store.decisions import Decision
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.views.project import chosen_threshold
from reft_studio.workspace import Workspace

Side = Literal["flagged", "kept", "borderline", "unscored", "all"]
UNFAMILIAR = 0.1
"""Share of words outside the lab's language above which its teacher is no judge."""
FEW_LABELS = 30
"""Rows of each kind with known truth below which curves are not drawn."""


@dataclass(frozen=True)
class Slice:
    """Rows of one origin: how many, how many are flagged, how many are known to be harmful (None: truth unknown)."""

    origin: str
    rows: int
    flagged: int
    known_harmful: int | None


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
    slices: list[Slice]
    warning: str | None
    curves: stats.RocPr | None
    near_threshold: int
    rule: str | None


def filter_view(workspace: Workspace, dataset_id: str, key: str) -> FilterView:
    """Raises StoreError if the dataset or its scores are gone."""
    score = open_score_set(workspace, dataset_id, key)
    teacher = open_teacher(workspace, score.teacher)
    dataset = open_dataset(workspace, dataset_id)
    truth = _truth(dataset)
    threshold = chosen_threshold(workspace, score) or 0.0
    values = score.scores()
    near = int((np.abs(grid(values[~np.isnan(values)]) - int(grid(threshold))) <= 20).sum())
    return FilterView(
        score=score,
        teacher=teacher,
        bins=histogram(values, truth),
        threshold=threshold,
        calibrated=score.threshold,
        labels_known=all(known is not None for known in truth),
        slices=slices(workspace, dataset_id, key, threshold),
        warning=language_warning(score, teacher),
        curves=_curves(values, truth),
        near_threshold=near,
        rule=settings.get(workspace, f"threshold-rule:{dataset_id}:{key}"),
    )


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


def slices(workspace: Workspace, dataset_id: str, key: str, threshold: float) -> list[Slice]:
    """Flagged rows by origin at a threshold, largest origin first."""
    score = open_score_set(workspace, dataset_id, key)
    dropped = flagged(score.scores(), threshold)
    origins, truth = _origins(open_dataset(workspace, dataset_id))
    places = {name: place for place, name in enumerate(dict.fromkeys(origins))}
    of_row = np.fromiter((places[origin] for origin in origins), dtype=np.int64, count=len(origins))
    rows, hit, open_, harmful = (
        np.bincount(of_row[mask], minlength=len(places))
        for mask in (np.ones(len(origins), dtype=bool), dropped, _are(truth, None), _are(truth, True))
    )
    found = [
        Slice(name or "(none)", int(rows[place]), int(hit[place]), None if open_[place] else int(harmful[place]))
        for name, place in places.items()
    ]
    return sorted(found, key=lambda one: -one.rows)


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


def _curves(values: NDArray[np.float32], truth: list[bool | None]) -> stats.RocPr | None:
    labelled = [(float(value), known) for value, known in zip(values, truth, strict=True) if known is not None and not np.isnan(value)]
    positives = sum(known for _, known in labelled)
    if min(positives, len(labelled) - positives) < FEW_LABELS:
        return None
    return stats.curves([value for value, _ in labelled], [known for _, known in labelled])


def _are(truth: list[bool | None], value: bool | None) -> NDArray[np.bool_]:
    return np.fromiter((known is value for known in truth), dtype=bool, count=len(truth))


def _truth(dataset: Dataset) -> list[bool | None]:
    return _origins(dataset)[1]


@lru_cache(maxsize=4)
def _origins(dataset: Dataset) -> tuple[list[str], list[bool | None]]:
    table = dataset.table(["origin", "known_harmful"])
    return table.column("origin").to_pylist(), table.column("known_harmful").to_pylist()
