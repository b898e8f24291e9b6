"""In which order a reviewer reads rows: where a decision changes most first, with random draws so that statistics stay valid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reft_studio.scoring.scores import flagged
from reft_studio.seeding import derive

Why = Literal[
    "borderline", "random", "flagged", "unscored", "precision", "highest", "disagreement", "approval", "filter", "anywhere", "sample"
]
Order = Literal["borderline", "highest", "disagreement", "random", "approval", "sample"]
"""`borderline`: nearest the threshold first, with random draws and clear cases mixed in; `highest`: highest score first;
`disagreement`: rows that two scorers judge differently, the clearest first; `random`: any row, each equally likely;
`approval`: decided rows that wait for a second person; `sample`: rows drawn from the whole file and recorded, for the estimate."""
FLAGGED_SHARE = 0.2
"""Share of a batch taken from all over the flagged rows, so that clear cases are checked too."""
BLOCK = 4096
"""Positions drawn at once."""
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class QueueItem:
    """A row to read, and why. `random` rows are the sample that the statement about what is left rests on.

    A check among them has a negative `row_id`; `shown` is the number that it is shown with.
    """

    row_id: int
    why: Why
    score: float | None
    shown: int


def disagreement_order(scores: Floats, threshold: float, others: Floats, other_threshold: float) -> Ints:
    """Positions of the rows that one scorer flags and the other does not, the clearest disagreement first.

    How clear: by how much the score that is nearer to its own line lies off it, in standard deviations of that score, since two
    scorers may measure on different scales. A row without one of the scores is left out. Memory: a few arrays of the changed rows.
    """
    changed = np.flatnonzero(flagged(scores, threshold) != flagged(others, other_threshold))
    changed = changed[~np.isnan(scores[changed]) & ~np.isnan(others[changed])]
    here = np.abs(scores[changed] - threshold) / _deviation(scores)
    there = np.abs(others[changed] - other_threshold) / _deviation(others)
    return changed[np.argsort(-np.minimum(here, there), kind="stable")]


def random_order(rows: int, *, seed: int) -> Iterator[Ints]:
    """All positions 0 to rows - 1 in a random order, in blocks, without ever holding more of the order than was asked for.

    Independent draws whose repeats are left out are a random order; once most of it is drawn, the rest is shuffled.
    """
    rng = np.random.default_rng(derive(seed, "random review"))
    seen = np.zeros(rows, dtype=bool)
    left = rows
    while left > rows // 2:
        drawn = rng.integers(0, rows, size=BLOCK)
        _, first = np.unique(drawn, return_index=True)
        fresh = drawn[np.sort(first)]
        fresh = fresh[~seen[fresh]]
        seen[fresh] = True
        left -= len(fresh)
        yield fresh
    yield rng.permutation(np.flatnonzero(~seen))


def mixed(groups: Mapping[Why, Sequence[int] | Ints]) -> list[tuple[Why, int]]:
    """All groups in one list, each keeping its order, spread evenly; the first group begins."""
    placed = [
        ((place + (0.5 if number else 0.0)) / len(positions), number, why, int(position))
        for number, (why, positions) in enumerate(groups.items())
        for place, position in enumerate(positions)
    ]
    return [(why, position) for _, _, why, position in sorted(placed)]


def _deviation(scores: Floats) -> float:
    spread = float(np.nanstd(scores)) if len(scores) else 0.0
    return spread or 1.0
