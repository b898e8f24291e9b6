"""Ranked rows that are never copied as a whole: a page of them costs the same anywhere among ten million."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reft_studio.data.grid import is_flagged

Places = NDArray[np.integer[Any]]


class Ranked(Protocol):
    """Row positions in an order."""

    def __len__(self) -> int: ...

    def page(self, offset: int, limit: int) -> Places:
        """The positions at ranks `offset` to `offset + limit`, fewer at the end."""


@dataclass(frozen=True)
class ArrayOrder:
    """Positions as they stand in an array, from its start or from its end."""

    places: Places
    backwards: bool = False

    def __len__(self) -> int:
        return len(self.places)

    def page(self, offset: int, limit: int) -> Places:
        if not self.backwards:
            return self.places[offset : offset + limit]
        end = max(0, len(self.places) - offset)
        return self.places[max(0, end - limit) : end][::-1]


@dataclass(frozen=True)
class Every:
    """All rows of a dataset in the order of its file."""

    rows: int

    def __len__(self) -> int:
        return self.rows

    def page(self, offset: int, limit: int) -> Places:
        return np.arange(min(offset, self.rows), min(offset + limit, self.rows), dtype=np.int64)


@dataclass(frozen=True)
class Nearest:
    """Positions by distance of their score to a threshold; the higher one first where two are equally far.

    `places` are ranked from the highest score down and all have one, so the rows above the threshold and those below it are two
    sorted lists to be merged: how many of each stand before a rank is found by halving, without touching the others.
    """

    places: Places
    scores: NDArray[np.float32]
    threshold: float

    def __len__(self) -> int:
        return len(self.places)

    def page(self, offset: int, limit: int) -> Places:
        offset = min(offset, len(self))
        limit = min(limit, len(self) - offset)
        split = bisect_left(range(len(self.places)), True, key=lambda at: bool(self._score(at) < self.threshold))
        above = self._above_among_first(offset, split)
        upper = self.places[max(0, split - above - limit) : split - above][::-1]
        lower = self.places[split + offset - above : split + offset - above + limit]
        both = np.concatenate([upper, lower])
        far = np.abs(self.scores[both].astype(np.float64) - self.threshold)
        return both[np.argsort(far, kind="stable")][:limit]

    def _above_among_first(self, offset: int, split: int) -> int:
        """How many of the `offset` nearest rows stand on the upper side."""
        least, most = max(0, offset - (len(self.places) - split)), min(offset, split)

        def enough(above: int) -> bool:
            """True if the next row above is farther than the last one taken from below."""
            taken_below = offset - above
            if above >= split or taken_below == 0:
                return True
            return bool(self._distance(split - 1 - above) > self._distance(split + taken_below - 1))

        return least + bisect_left(range(least, most), True, key=enough)

    def _distance(self, at: int) -> float:
        return abs(self._score(at) - self.threshold)

    def _score(self, at: int) -> float:
        return float(self.scores[self.places[at]])


@dataclass(frozen=True)
class ChainedOrder:
    """Several orders, one after the other."""

    parts: Sequence[Ranked]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def page(self, offset: int, limit: int) -> Places:
        pages = []
        for part in self.parts:
            if offset < len(part) and limit > 0:
                pages.append(part.page(offset, limit))
                limit -= len(pages[-1])
            offset = max(0, offset - len(part))
        return np.concatenate(pages) if pages else np.zeros(0, dtype=np.int64)


def whole(ranked: Ranked) -> NDArray[np.int64]:
    """All positions, in their order."""
    if isinstance(ranked, Nearest):
        above = int((ranked.scores[ranked.places].astype(np.float64) >= ranked.threshold).sum())
        both = np.concatenate([ranked.places[:above][::-1], ranked.places[above:]])
        far = np.abs(ranked.scores[both].astype(np.float64) - ranked.threshold)
        return np.asarray(both[np.argsort(far, kind="stable")], dtype=np.int64)
    if isinstance(ranked, ChainedOrder):
        return np.concatenate([whole(part) for part in ranked.parts]) if ranked.parts else np.zeros(0, dtype=np.int64)
    return np.asarray(ranked.page(0, len(ranked)), dtype=np.int64)


def first_below(places: Places, scores: NDArray[np.float32], cosine: float, *, until: int) -> int:
    """Of the first `until` places, ranked from the highest score down, how many are flagged at `cosine`."""
    return bisect_left(range(until), True, key=lambda at: not is_flagged(float(scores[places[at]]), cosine))
