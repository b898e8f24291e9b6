"""The rows that a filter selects, ranked. Nothing here makes a Python object for a row."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset
from reft_studio.data.index.facets import facet, facet_file, facet_names
from reft_studio.data.index.rowstore import row_store
from reft_studio.data.index.search import Found, search, stamp
from reft_studio.data.index.sql import Tables, row_ids
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import ScoreSet, flagged, grid, open_score_set
from reft_studio.store.decided import ACTIONS, Decided
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio.row_filter import RowFilter as RowFilter
from reft_studio.studio.row_filter import Side as Side
from reft_studio.studio.row_order import ArrayOrder, ChainedOrder, Every, Nearest, Places, Ranked, first_below, whole
from reft_studio.workspace import Workspace

FEW = 16
"""A search that finds less than one row in so many is ranked by itself instead of looked up in the ranking of all."""


def positions(
    workspace: Workspace, dataset: Dataset, score: ScoreSet | None, threshold: float | None, row_filter: RowFilter, decided: Decided
) -> NDArray[np.int64]:
    """Positions of the rows that a filter selects, in its order.

    Raises SpecError for a filter that needs scores or a threshold where there are none.
    """
    return whole(ranked(workspace, dataset, score, threshold, row_filter, decided))


def ranked(
    workspace: Workspace, dataset: Dataset, score: ScoreSet | None, threshold: float | None, row_filter: RowFilter, decided: Decided
) -> Ranked:
    """The same as `positions`, for pages: what a plain filter selects is not even copied."""
    asked = _RowQuestion(workspace, dataset, score, threshold, row_filter, decided)
    return _RECENT.get(asked.key(), lambda: _ranked(asked))


def searched(dataset: Dataset, text: str) -> Found:
    """What a search finds; asked again, for another threshold or page, it is not made again."""
    return _searched(dataset, text, stamp(dataset))


@lru_cache(maxsize=2)
def _searched(dataset: Dataset, text: str, _stamp: int) -> Found:
    return search(dataset, text)


@dataclass(frozen=True)
class _RowQuestion:
    """One question."""

    workspace: Workspace
    dataset: Dataset
    score: ScoreSet | None
    threshold: float | None
    filter: RowFilter
    decided: Decided

    def key(self) -> Hashable:
        """What its answer depends on; a threshold only where the filter looks at it, so that moving the line keeps the rest."""
        wanted = self.filter
        asks = (wanted.sql or "").lower()
        looks = wanted.side in ("flagged", "kept") or wanted.order == "borderline" or wanted.other is not None or "flagged" in asks
        line = int(grid(self.threshold)) if looks and self.threshold is not None else None
        exact = self.threshold if wanted.order == "borderline" else None
        decisions = (self.decided.seq, self.decided.hash) if wanted.decided != "any" or "decisions" in asks else None
        found = stamp(self.dataset) if wanted.search else 0
        used = {name for name, _ in wanted.facets}
        names = [name for name in facet_names(self.dataset) if name in used or "facets" in asks] if used or "facets" in asks else []
        sorted_at = tuple(_modified(facet_file(self.dataset, name)) for name in names)  # an inspection may be made anew
        return self.dataset.folder, _stamp(self.score), line, exact, wanted, decisions, found, sorted_at

    def scores(self) -> ScoreSet:
        if self.score is None:
            raise SpecError("There are no scores, so no row is flagged or kept yet. Score the dataset first, or choose all rows.")
        return self.score

    def line(self) -> float:
        if self.threshold is None:
            raise SpecError("There is no threshold yet, so no row is flagged or kept. Score the dataset first, or choose all rows.")
        return self.threshold


def tables(dataset: Dataset, score: ScoreSet | None, threshold: float | None, decided: Decided) -> Tables:
    """What a question in SQL can ask about."""
    scores = score.folder / "scores.parquet" if score else None
    return Tables(dataset, scores, threshold, decided.row_ids, decided.codes, ACTIONS)


def _modified(path: Path) -> int:
    """When a file was written, 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _stamp(score: ScoreSet | None) -> Hashable:
    return None if score is None else (score.folder, (score.folder / "scores.parquet").stat().st_mtime_ns)


class _Recent:
    """The last answers, so that scrolling and counting do not rank again."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._held: OrderedDict[Hashable, Ranked] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Ranked]) -> Ranked:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        made = make()
        with self._lock:
            self._held[key] = made
            while len(self._held) > self._most:
                self._held.popitem(last=False)
        return made


_RECENT = _Recent(6)


def _ranked(asked: _RowQuestion) -> Ranked:
    """Ranks, and where the filter says more than side and score, keeps of them what it selects."""
    wanted, rows = asked.filter, asked.dataset.rows
    if asked.score is None:
        return _unranked(asked)
    order, values = asked.score.order(), asked.score.scores()
    scored = rows - asked.score.missing
    start, end = _window(asked, order, values, scored)
    if wanted.plain:
        chosen: Places = order[start:end]
    else:
        chosen = _kept(asked, order, values, start, end)
    if wanted.order == "file":
        return Every(rows) if len(chosen) == rows else ArrayOrder(np.sort(np.asarray(chosen)))
    ranked_rows = bisect_left(range(len(chosen)), True, key=lambda rank: bool(np.isnan(values[chosen[rank]])))
    return _arranged(chosen, values, ranked_rows, wanted, asked.threshold)


def _arranged(chosen: Places, values: NDArray[np.float32], scored: int, wanted: RowFilter, threshold: float | None) -> Ranked:
    """Places ranked from the highest score down, in the order wanted; those without a score stay last."""
    if wanted.order == "score":
        return ArrayOrder(chosen)
    last = ArrayOrder(chosen[scored:])
    if wanted.order == "-score":
        return ChainedOrder([ArrayOrder(chosen[:scored], backwards=True), last])
    return ChainedOrder([Nearest(chosen[:scored], values, threshold if threshold is not None else 0.0), last])


def _unranked(asked: _RowQuestion) -> Ranked:
    """Rows of a dataset without scores, in the order of the file."""
    wanted, rows = asked.filter, asked.dataset.rows
    if wanted.side in ("flagged", "kept", "unreached") or wanted.low is not None or wanted.high is not None or wanted.other is not None:
        asked.scores()
    masks = _conditions(asked)
    return ArrayOrder(np.flatnonzero(_all_of(masks))) if masks else Every(rows)


def _window(asked: _RowQuestion, order: Places, values: NDArray[np.float32], scored: int) -> tuple[int, int]:
    """The run of ranks that holds the side and the range of scores."""
    wanted, rows = asked.filter, len(order)
    start, end = 0, rows
    if wanted.side == "unscored":
        start, end = scored, asked.scores().reached
    elif wanted.side == "unreached":
        start = asked.scores().reached
    elif wanted.side in ("flagged", "kept"):
        split = first_below(order, values, asked.line(), until=scored)
        start, end = (0, split) if wanted.side == "flagged" else (split, scored)
    if wanted.high is not None:
        over = int(grid(wanted.high)) + 1  # the next bin up: above 1 there is none
        start = max(start, 0 if over > int(grid(1.0)) else first_below(order, values, over / 1000 - 1, until=scored))
        end = min(end, scored)
    if wanted.low is not None:
        end = min(end, first_below(order, values, wanted.low, until=scored))
    return start, max(start, end)


def _kept(asked: _RowQuestion, order: Places, values: NDArray[np.float32], start: int, end: int) -> Places:
    """Of the ranks from `start` to `end` the rows that fulfil every condition, still from the highest score down."""
    mask = _all_of(_conditions(asked))
    hits = int(np.count_nonzero(mask))
    if hits * FEW > end - start:
        window = np.asarray(order[start:end])
        return np.asarray(window[mask[window]])
    found = np.flatnonzero(mask)
    ranks = np.where(np.isnan(values[found]), np.float32(-np.inf), values[found])
    found = found[np.argsort(-ranks, kind="stable")]
    return found[_inside(asked, order, values, found, start, end)]


def _inside(asked: _RowQuestion, order: Places, values: NDArray[np.float32], found: Places, start: int, end: int) -> NDArray[np.bool_]:
    """Which of these rows lie in a run of ranks. Its ends are ends of bins of the grid, so scores tell."""
    if start >= end:
        return np.zeros(len(found), dtype=bool)
    missing = np.isnan(values[found])
    bins = grid(np.where(missing, 0, values[found]))
    scored = len(order) - asked.scores().missing
    if start >= scored:
        waiting = asked.scores().not_reached()[found]
        return missing & (waiting if start >= asked.scores().reached else ~waiting)
    highest, lowest = int(grid(float(values[order[start]]))), int(grid(float(values[order[min(end, scored) - 1]])))
    return np.where(missing, end > scored, (bins <= highest) & (bins >= lowest))


def _all_of(masks: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return masks[0] if len(masks) == 1 else np.logical_and.reduce(masks)


def _conditions(asked: _RowQuestion) -> list[NDArray[np.bool_]]:
    """(rows,) masks by position, one for each thing the filter asks beside side and score."""
    wanted, dataset = asked.filter, asked.dataset
    masks = _facet_masks(dataset, wanted)
    if wanted.search.strip():
        mask = np.zeros(dataset.rows, dtype=bool)
        mask[searched(dataset, wanted.search).positions] = True
        masks.append(mask)
    if wanted.decided != "any":
        masks.append(_decided_mask(asked))
    if wanted.other is not None:
        masks.append(_changed_mask(asked))
    if wanted.sql:
        masks.append(_mask_of_ids(asked, row_ids(tables(dataset, asked.score, asked.threshold, asked.decided), wanted.sql)))
    if asked.score is None and wanted.side == "unscored" and not masks:
        masks.append(np.ones(dataset.rows, dtype=bool))
    return masks


def _facet_masks(dataset: Dataset, wanted: RowFilter) -> list[NDArray[np.bool_]]:
    labels: dict[str, list[str]] = {}
    for name, label in wanted.facets:
        labels.setdefault(name, []).append(label)
    return [_facet_mask(dataset, name, named) for name, named in labels.items()]


def _facet_mask(dataset: Dataset, name: str, labels: list[str]) -> NDArray[np.bool_]:
    found = facet(dataset, name)
    if found is None:
        raise SpecError(f"'{name[:40]}' is not known of these rows yet: the inspection of the dataset has not ended. Try again later.")
    codes = [code for label in labels if (code := found.code(label)) is not None]
    if not codes:
        raise SpecError(f"No row of this dataset can have that {found.title.lower()}. Take the filter off, or choose another.")
    if len(codes) == 1:
        return np.asarray(found.codes == codes[0])
    wanted = np.zeros(256, dtype=bool)
    wanted[codes] = True
    return np.asarray(wanted[found.codes])


def _decided_mask(asked: _RowQuestion) -> NDArray[np.bool_]:
    wanted, held = asked.filter.decided, asked.decided
    if wanted == "conflict":
        return _mask_of_ids(asked, DecisionLog(asked.workspace).conflicts(asked.dataset.id))
    if wanted == "open":
        return ~_mask_of_ids(asked, held.row_ids)
    return _mask_of_ids(asked, held.row_ids[held.codes == ACTIONS.index(wanted) + 1])


def _changed_mask(asked: _RowQuestion) -> NDArray[np.bool_]:
    key, threshold = asked.filter.other or ("", 0.0)
    there = flagged(open_score_set(asked.workspace, asked.dataset.id, key).scores(), threshold)
    here = flagged(asked.scores().scores(), asked.line())
    if asked.filter.change == "added":
        return there & ~here
    return here & ~there if asked.filter.change == "dropped" else here ^ there


def _mask_of_ids(asked: _RowQuestion, row_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.zeros(asked.dataset.rows, dtype=bool)
    at = row_store(asked.dataset).positions(row_ids)
    mask[at[at >= 0]] = True
    return mask
