"""Pages of the rows that a filter selects, with what is known of each, and questions in SQL about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.index import search, sql
from reft_studio.data.index.facets import LABEL_CHARS as LABEL_CHARS
from reft_studio.data.index.facets import OTHER as OTHER
from reft_studio.data.index.facets import TITLES as TITLES
from reft_studio.data.index.facets import Facet, facet, facet_names
from reft_studio.data.index.query import RowPage
from reft_studio.data.index.rowstore import row_store
from reft_studio.data.index.sql import EXAMPLES as EXAMPLES
from reft_studio.scoring.scores import ScoreSet, flagged, open_score_set
from reft_studio.scoring.shards import NOT_REACHED as NOT_REACHED
from reft_studio.scoring.shards import REASONS as REASONS
from reft_studio.store.decided import ACTIONS as ACTIONS
from reft_studio.store.decided import Decided as Decided
from reft_studio.store.decided import decided
from reft_studio.studio.row_query import RowFilter, ranked, searched, tables
from reft_studio.tasks.index import live, queue_index
from reft_studio.workspace import Workspace

SearchState = Literal["index", "small", "building", "scan"]
MOST_ROWS = 200
"""Rows of one page."""


@dataclass(frozen=True)
class Rows:
    """Pages of the rows of one workspace."""

    workspace: Workspace

    def page(
        self, dataset_id: str, key: str | None, threshold: float | None, row_filter: RowFilter, *, offset: int = 0, limit: int = 50
    ) -> RowPage:
        """A page of at most 200 rows, each with `position`, `score` (None: not scored), `reason` (why not), `decision` and `flagged`."""
        dataset, score = self._opened(dataset_id, key)
        held = decided(self.workspace, dataset.id)
        found = ranked(self.workspace, dataset, score, threshold, row_filter, held)
        places = np.asarray(found.page(max(0, offset), min(max(1, limit), MOST_ROWS)), dtype=np.int64)
        return RowPage(len(found), offset, _rows(dataset, score, threshold, held, places))

    def count(self, dataset_id: str, key: str | None, threshold: float | None, row_filter: RowFilter) -> int:
        """How many rows the filter selects."""
        dataset, score = self._opened(dataset_id, key)
        return len(ranked(self.workspace, dataset, score, threshold, row_filter, decided(self.workspace, dataset.id)))

    def ask(self, dataset_id: str, key: str | None, threshold: float | None, query: str) -> sql.SqlResult:
        """Answer one SELECT over the rows, their scores, decisions and facets: at most 1,000 rows, within 5 s."""
        dataset, score = self._opened(dataset_id, key)
        return sql.ask(tables(dataset, score, threshold, decided(self.workspace, dataset.id)), query)

    def columns(self, dataset_id: str, key: str | None) -> dict[str, list[str]]:
        """Columns of each table that a question can name."""
        dataset, score = self._opened(dataset_id, key)
        return tables(dataset, score, None, decided(self.workspace, dataset.id)).columns()

    def facets(self, dataset_id: str) -> list[Facet]:
        """What rows can be filtered by, now."""
        dataset = open_dataset(self.workspace, dataset_id)
        return [found for name in facet_names(dataset) if (found := facet(dataset, name)) is not None]

    def facet(self, dataset_id: str, name: str) -> Facet | None:
        """One of them by its name; None as long as it is not known."""
        return facet(open_dataset(self.workspace, dataset_id), name)

    def search_state(self, dataset_id: str) -> SearchState:
        """How a search in this dataset works now: `index`, `small` (few rows are simply read), `building` or `scan`."""
        dataset = open_dataset(self.workspace, dataset_id)
        if search.indexed(dataset):
            return "index"
        if dataset.rows < search.WORTH_ROWS:
            return "small"
        return "building" if live(self.workspace, "index", dataset.id) else "scan"

    def searched(self, dataset_id: str, text: str) -> search.Found:
        """What a search finds by itself, with how it was made."""
        return searched(open_dataset(self.workspace, dataset_id), text)

    def index(self, dataset_id: str) -> str | None:
        """Queue the search index of a dataset; None if it has one, or one is on its way."""
        return queue_index(self.workspace, open_dataset(self.workspace, dataset_id))

    def _opened(self, dataset_id: str, key: str | None) -> tuple[Dataset, ScoreSet | None]:
        score = open_score_set(self.workspace, dataset_id, key) if key else None
        return open_dataset(self.workspace, dataset_id), score


def _rows(
    dataset: Dataset, score: ScoreSet | None, threshold: float | None, held: Decided, places: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """The rows at these positions with what is known of them."""
    store = row_store(dataset)
    rows = store.take(places)
    values = score.scores()[places] if score else np.full(len(places), np.nan, dtype=np.float32)
    missing = np.isnan(values)
    over = flagged(values, threshold) if threshold is not None else np.zeros(len(places), dtype=bool)
    codes = held.code_of(store.row_ids[places])
    reasons = score.reasons(places.tolist()) if score and missing.any() else [None] * len(places)
    for at, row in enumerate(rows):
        row["position"] = int(places[at])
        row["score"] = None if missing[at] else float(values[at])
        row["reason"] = reasons[at]
        row["decision"] = ACTIONS[codes[at] - 1] if codes[at] else None
        row["flagged"] = bool(over[at])
    return rows
