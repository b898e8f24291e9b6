"""Poisoned user data with exactly the promised number of harmful rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reft_studio.data.dataset import Row
from reft_studio.errors import SpecError
from reft_studio.seeding import generator


def poison_count(poison_ratio: float, rows: int) -> int:
    """Harmful rows among `rows`: the nearest integer to `poison_ratio * rows`, so that 10 % of 1000 is 100.

    Raises SpecError if the ratio is no share or `rows` is not positive.
    """
    if not (math.isfinite(poison_ratio) and 0 <= poison_ratio <= 1):
        raise SpecError(f"poison_ratio is {poison_ratio}, but it is a share of the user data: give 0 to 1 (10 % is 0.1).")
    if rows < 1:
        raise SpecError(f"rows is {rows}. A user dataset needs at least one row.")
    # int() truncates what floats leave just below the integer: int(0.29 * 100) is 28.
    return round(poison_ratio * rows)


def mix(benign: Sequence[Row], harmful: Sequence[Row], *, poison_ratio: float, rows: int, seed: int) -> list[Row]:
    """`rows` rows in seeded order, `poison_count` of them harmful, none drawn twice.

    The harmful rows of a smaller ratio are among those of a larger one with the same seed, so that a sweep over the
    ratio adds poison and never exchanges it. `known_harmful` is set where the source left it open; row ids are new,
    0 to rows - 1. Raises SpecError if either side has too few rows.
    """
    poison = poison_count(poison_ratio, rows)
    chosen = [_marked(row, harmful=True) for row in _draw(harmful, poison, kind="harmful", seed=seed)]
    chosen += [_marked(row, harmful=False) for row in _draw(benign, rows - poison, kind="benign", seed=seed)]
    generator(seed, "mix", "order").shuffle(chosen)
    for position, row in enumerate(chosen):
        row["row_id"] = position
    return chosen


def _draw(pool: Sequence[Row], count: int, *, kind: str, seed: int) -> list[Row]:
    if count > len(pool):
        raise SpecError(f"The mix needs {count} {kind} rows, but there are {len(pool)}. Ask for fewer rows or change the poison ratio.")
    positions = list(range(len(pool)))
    generator(seed, "mix", kind).shuffle(positions)
    return [pool[position] for position in positions[:count]]


def _marked(row: Row, *, harmful: bool) -> Row:
    copy = row.copy()
    if copy.get("known_harmful") is None:
        copy["known_harmful"] = harmful
    return copy
