"""Many rows at once: which rows a filter selects for one decision, and which rows still wait for a decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset
from reft_studio.data.index.rowstore import row_store
from reft_studio.scoring.partial import require_finished
from reft_studio.scoring.scores import ScoreSet
from reft_studio.store.decided import UNSURE, Decided
from reft_studio.studio.row_filter import RowFilter
from reft_studio.studio.row_query import positions
from reft_studio.workspace import Workspace


@dataclass(frozen=True)
class Selection:
    """Rows of a filter: `row_ids` (n,) would be decided; `decided` more match, but a person has decided them already."""

    row_ids: NDArray[np.int64]
    matched: int
    decided: int


def select(
    workspace: Workspace,
    dataset: Dataset,
    score: ScoreSet | None,
    threshold: float | None,
    decided: Decided,
    row_filter: RowFilter,
    *,
    overrule: bool = False,
) -> Selection:
    """The rows that a filter selects, in dataset order; those that a person decided are left alone unless `overrule`.

    Raises SpecError for a filter that needs scores where there are none, or where rows are still being scored.
    """
    if row_filter.side in ("flagged", "kept") or (row_filter.low, row_filter.high, row_filter.other) != (None, None, None):
        require_finished(score, "a decision by score")
    places = positions(workspace, dataset, score, threshold, row_filter.without_order(), decided)
    ids = row_store(dataset).row_ids[places]
    taken = decided.code_of(ids) > 0
    return Selection(ids if overrule else ids[~taken], len(ids), int(taken.sum()))


def undecided(dataset: Dataset, score: ScoreSet | None, decided: Decided) -> NDArray[np.int64]:
    """Ids of the rows that stop a freeze: without a score and a decision, or marked unsure. Ascending by position."""
    ids = row_store(dataset).row_ids
    unsure = decided.rows_with(UNSURE)
    places = np.arange(len(ids)) if score is None else np.flatnonzero(np.isnan(score.scores()))
    waiting = ids[places[decided.code_of(ids[places]) == 0]]
    return np.union1d(waiting, unsure)
