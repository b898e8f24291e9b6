"""Rows drawn at random, written down before anybody reads them: what every statement about unread rows rests on."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.checks import Check, in_order, mixed_in, places
from reft_studio.audit.held import Decided
from reft_studio.data.grid import NO_BIN, flagged_bins, flagged_counts, grid
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import ScoreSet
from reft_studio.seeding import derive

Region = Literal["below", "above"]
MOST = 100_000
"""Rows of one draw."""
_KEPT = 4


@dataclass(frozen=True)
class ThresholdSide:
    """One side of a threshold for one set of scores: the rows that a statement is about. `line` is a bin of the 0.001 grid."""

    region: Region
    score_key: str
    line: int

    @classmethod
    def at(cls, score: ScoreSet, threshold: float, region: Region) -> ThresholdSide:
        if region not in get_args(Region):
            raise SpecError(f"There is no side '{region}' of the threshold. Choose below or above.")
        return cls(region, score.key, int(grid(threshold)))

    def holds(self, bins: NDArray[np.uint16]) -> NDArray[np.bool_]:
        """Which rows are on this side; those without a score are on none."""
        above = flagged_bins(bins, self.line)
        return ~above & (bins != NO_BIN) if self.region == "below" else above

    def rows(self, score: ScoreSet) -> int:
        """How many rows are on this side."""
        counts = _flagged_counts(score)
        return int(counts[0] - counts[self.line] if self.region == "below" else counts[self.line])


@dataclass(frozen=True)
class Draw:
    """One draw as it stands in the log; its `rows` are to be read in their order.

    `population` rows were on this side of the line (`fingerprint`: SHA-256 of their ids), of which those in `seen` had been drawn and
    decided before: they are known, the others are what was drawn from. `seed` gives every row of the dataset its place in a random
    order, from which the draws for this line take the first ones on its side that none of them has taken. Each line has an order of its
    own: whoever moved the line may have looked at rows drawn for another one without deciding them, or have undone it. `decisions` is
    how far the log of decisions had come: seq and hash of its newest entry. `checks` are mixed into `rows`, at places the seed gives.
    """

    region: Region
    score_key: str
    line: int
    threshold: float
    population: int
    fingerprint: str
    seed: str
    seen: list[int]
    rows: list[int]
    decisions: tuple[int, str]
    checks: list[Check] = field(default_factory=list)

    @property
    def place(self) -> ThresholdSide:
        return ThresholdSide(self.region, self.score_key, self.line)

    def as_dict(self) -> dict[str, Any]:
        """JSON-friendly."""
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Draw:
        """From JSON."""
        checks = [Check(**one) for one in values.get("checks", ())]  # draws of earlier versions have none
        return cls(**{**values, "decisions": tuple(values["decisions"]), "checks": checks})

    def order(self) -> list[int]:
        """Rows and checks (their negative ids) in the order in which they are to be read."""
        return in_order(self.rows, self.checks)


def make(
    score: ScoreSet,
    threshold: float,
    region: Region,
    *,
    count: int,
    before: Sequence[Draw],
    decided: Decided,
    head: tuple[int, str],
    checks: Callable[[int], int] | None = None,
) -> Draw:
    """The next `count` rows on one side of the threshold (fewer if no more are left), given every draw made for the dataset before.

    `checks` says how many checks are mixed into so many rows. Raises SpecError if all of the rows have been drawn.
    """
    line = ThresholdSide.at(score, threshold, region)
    if not 1 <= count <= MOST:
        raise SpecError(f"{count:,} rows cannot be drawn at once. Draw 1 to {MOST:,}.")
    ids, inside = score.row_ids(), line.holds(score.bins())
    here = [draw for draw in before if draw.place == line]
    seen = here[0].seen if here else _seen(before, ids[inside], decided)
    taken = np.array([row for draw in here for row in draw.rows] + seen, dtype=np.int64)
    seed = here[0].seed if here else secrets.token_hex(16)
    free = inside & ~np.isin(ids, taken, kind="table") if len(taken) else inside
    left = np.flatnonzero(free)
    rows = ids[_first(keys(seed, len(ids)), left, count)].tolist()
    if not rows:
        raise SpecError(f"All {int(inside.sum()):,} rows {region} the threshold have been drawn: there are no more.")
    mark = hashlib.sha256(np.ascontiguousarray(ids[inside], dtype="<i8").tobytes()).hexdigest()
    made = Draw(region, score.key, line.line, round(threshold, 6), int(inside.sum()), mark, seed, seen, rows, head)
    number = 0 if checks is None else checks(len(rows))
    if not number:
        return made
    numbers = _not_drawn(seed, ids, left if len(left) >= len(rows) + number else np.arange(len(ids)), rows, number)
    used = [check for draw in before for check in draw.checks]
    return replace(made, checks=mixed_in(seed, sum(len(draw.rows) for draw in here), len(rows), used=used, numbers=numbers))


@lru_cache(maxsize=1)  # 80 MB for ten million rows; the next draw for a line mostly follows the one before
def keys(seed: str, rows: int) -> NDArray[np.float64]:
    """(rows,) the place of each row in the random order, as a number: it depends on nothing but the seed and the row's position."""
    return np.random.default_rng(derive(int(seed, 16), "draw")).random(rows)


def is_honest(draw: Draw, score: ScoreSet, before: Sequence[Draw]) -> bool:
    """Whether the rows of a draw, and the places of its checks, are those that its seed gives.

    `before` are the draws of the dataset before it.
    """
    ids, inside = score.row_ids(), draw.place.holds(score.bins())
    here = [one for one in before if one.place == draw.place]
    taken = [row for one in here for row in one.rows] + draw.seen
    free = inside & ~np.isin(ids, np.array(taken, dtype=np.int64))
    rows = ids[_first(keys(draw.seed, len(ids)), np.flatnonzero(free), len(draw.rows))].tolist()
    mark = hashlib.sha256(np.ascontiguousarray(ids[inside], dtype="<i8").tobytes()).hexdigest()
    at = places(draw.seed, sum(len(one.rows) for one in here), len(rows), len(draw.checks)).tolist() if draw.checks else []
    checked = at == [check.place for check in draw.checks]
    return rows == draw.rows and checked and mark == draw.fingerprint and all(draw.seed == one.seed for one in here)


def pending(draws: Sequence[Draw], line: ThresholdSide, decided: Decided) -> NDArray[np.int64]:
    """Rows drawn for this line, and checks among them, that are not decided yet, in the order in which they are to be read."""
    order = reading_order(draws, line)
    found: NDArray[np.int64] = order[decided.code_of(order) == 0]
    return found


def reading_order(draws: Sequence[Draw], line: ThresholdSide) -> NDArray[np.int64]:
    """Rows drawn for this line and checks (negative) among them, in the order in which they are to be read."""
    return np.array([one for draw in draws if draw.place == line for one in draw.order()], dtype=np.int64)


def _not_drawn(seed: str, ids: NDArray[np.int64], positions: NDArray[np.int64], rows: list[int], count: int) -> list[int]:
    """Ids of `count` of these rows that were not drawn, at random; numbers that no row has where there are too few."""
    rng = np.random.default_rng(derive(int(seed, 16), f"shown {len(rows)}"))
    some = ids[rng.permutation(positions) if len(positions) < 1 << 16 else rng.choice(positions, size=4 * count, replace=True)]
    found = np.unique(some[~np.isin(some, rows)])
    beyond = int(ids.max()) + 1 + np.arange(max(0, count - len(found)))
    return [int(one) for one in np.concatenate([rng.permutation(found)[:count], beyond])]


def drawn_rows(draws: Sequence[Draw], line: ThresholdSide) -> NDArray[np.int64]:
    """Rows drawn for this line, in their order."""
    return np.array([row for draw in draws if draw.place == line for row in draw.rows], dtype=np.int64)


def _seen(before: Sequence[Draw], population: NDArray[np.int64], decided: Decided) -> list[int]:
    """Rows of earlier draws (for other lines) that were read: whoever chose this line knew them."""
    drawn = np.unique(np.array([row for draw in before for row in draw.rows], dtype=np.int64))
    read = drawn[decided.code_of(drawn) > 0]
    found: list[int] = read[np.isin(read, population)].tolist()
    return found


def _first(order: NDArray[np.float64], positions: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Of `positions`, the `count` that come first in the order, in that order."""
    values = order[positions]
    if count < len(positions):
        nearest = np.argpartition(values, count)[:count]
        positions, values = positions[nearest], values[nearest]
    return positions[np.argsort(values, kind="stable")]


def _flagged_counts(score: ScoreSet) -> NDArray[np.int64]:
    """(BINS,) how many rows are flagged at each line; at line 0 all that have a score."""
    key = (score.folder, score.stamp())
    if key not in _known:
        while len(_known) >= _KEPT:
            _known.pop(next(iter(_known)), None)
        _known[key] = flagged_counts(np.bincount(score.bins(), minlength=NO_BIN + 1)[:NO_BIN])
    return _known[key]


_known: dict[tuple[Path, int], NDArray[np.int64]] = {}
