"""In which order a reviewer reads rows: where a decision changes most first, with random draws so that statistics stay valid."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reft_studio.errors import SpecError
from reft_studio.scoring.scores import flagged
from reft_studio.seeding import derive

Why = Literal["borderline", "random", "flagged", "unscored", "precision", "highest", "disagreement", "approval", "filter", "anywhere"]
Order = Literal["borderline", "highest", "disagreement", "random", "approval"]
"""`borderline`: nearest the threshold first, with random draws and clear cases mixed in; `highest`: highest score first;
`disagreement`: rows that two scorers judge differently, the clearest first; `random`: any row, each equally likely;
`approval`: decided rows that wait for a second person."""
FLAGGED_SHARE = 0.2
"""Share of a batch taken from all over the flagged rows, so that clear cases are checked too."""
BLOCK = 4096
"""Positions drawn at once."""
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class QueueItem:
    """A row to read, and why. `random` rows are the sample that the statement about what is left rests on."""

    row_id: int
    why: Why
    score: float | None


def review_order(
    scores: ArrayLike,
    threshold: float,
    decided: Collection[int],
    *,
    seed: int,
    size: int = 50,
    random_share: float = 0.3,
    row_ids: ArrayLike | None = None,
) -> list[QueueItem]:
    """The next `size` undecided rows: mostly those nearest the threshold, mixed with random rows below it and flagged ones of every score.

    `scores` is (n,), NaN where a row has none; `row_ids` names the rows where they are not simply 0 to n-1; `decided` holds row ids.
    Rows without a score come last: nothing but a person can decide them.
    """
    if not 0 <= random_share <= 1 - FLAGGED_SHARE:
        raise SpecError(f"random_share is {random_share}, but it is a share of the batch: give 0 to {1 - FLAGGED_SHARE}.")
    values, ids = arrays(scores, row_ids)
    open_rows = ~among(ids, decided)
    above = flagged(values, threshold)
    below = ~above & ~np.isnan(values) & open_rows
    above &= open_rows
    drawn = sample_order(seed=seed, count=_share(size, random_share), eligible=below)
    spread = _spread(values, np.flatnonzero(above), count=_share(size, FLAGGED_SHARE), seed=seed)
    rest = below | above
    rest[drawn] = rest[spread] = False
    near = _smallest(np.abs(values - threshold), np.flatnonzero(rest), size - len(drawn) - len(spread))
    order = mixed({"borderline": near, "random": drawn, "flagged": spread})
    unscored = np.flatnonzero(open_rows & np.isnan(values))[: size - len(order)]
    order += [("unscored", int(position)) for position in unscored]
    return [QueueItem(int(ids[at]), why, None if np.isnan(values[at]) else float(values[at])) for why, at in order]


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


def sample_order(*, seed: int, count: int, eligible: NDArray[np.bool_]) -> Ints:
    """The first `count` positions of the random order of the eligible rows (those below the threshold).

    Each row's place in the order depends on the seed alone, so moving the threshold, or deciding rows, keeps the rest of the order:
    what was read stays a random sample.
    """
    keys = np.random.default_rng(derive(seed, "residual sample")).random(len(eligible))
    return _smallest(keys, np.flatnonzero(eligible), count)


def among(row_ids: Ints, chosen: Collection[int]) -> NDArray[np.bool_]:
    """Which of `row_ids` (n,) are in `chosen`."""
    wanted = np.fromiter(chosen, np.int64, len(chosen))
    # "table" takes 0.1 s for 10 million rows, the default sorts them all and takes seconds.
    return np.isin(row_ids, wanted, kind="table")


def arrays(scores: ArrayLike, row_ids: ArrayLike | None) -> tuple[Floats, Ints]:
    """Scores and row ids, both (n,). Raises SpecError if they do not belong together."""
    values = np.asarray(scores, dtype=np.float32)
    ids = np.arange(len(values)) if row_ids is None else np.asarray(row_ids, dtype=np.int64)
    if len(ids) != len(values):
        raise SpecError(f"There are {len(values)} scores for {len(ids)} rows. Score the dataset again.")
    return values, ids


def _deviation(scores: Floats) -> float:
    spread = float(np.nanstd(scores)) if len(scores) else 0.0
    return spread or 1.0


def _share(size: int, share: float) -> int:
    return round(size * share)


def _smallest(keys: NDArray[np.floating], positions: Ints, count: int) -> Ints:
    """Of `positions`, the `count` with the smallest key, smallest first."""
    if count <= 0:
        return positions[:0]
    if count < len(positions):
        positions = positions[np.argpartition(keys[positions], count)[:count]]
    return positions[np.argsort(keys[positions], kind="stable")]


def _spread(scores: Floats, positions: Ints, *, count: int, seed: int) -> Ints:
    """One random position from each of `count` equal slices of the positions, from the highest score down."""
    if count <= 0 or not len(positions):
        return positions[:0]
    rng = np.random.default_rng(derive(seed, "flagged strata"))
    ordered = positions[np.argsort(-scores[positions], kind="stable")]
    slices = np.array_split(ordered, min(count, len(ordered)))
    return np.array([rng.choice(part) for part in slices], dtype=np.int64)
