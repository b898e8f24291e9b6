"""A race: two ways of doing the same work, interleaved in one run, so that a busy machine slows both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 7


@dataclass(frozen=True)
class Measured:
    """What one benchmark found; `ratio` is ours over the anchor's (or over our own budget), `target` its upper limit.

    `unit` is ms or MB; `note` says what qualifies the figure, for instance why a target is missed.
    """

    name: str
    what: str
    ours: float
    anchor: str
    anchor_value: float
    ratio: float
    target: float
    unit: str = "ms"
    note: str = ""

    @property
    def met(self) -> bool:
        return self.ratio <= self.target


def race(
    name: str,
    what: str,
    ours: Callable[[], None],
    anchor: str,
    usual: Callable[[], None],
    *,
    target: float,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Medians of `rounds` turns each, in milliseconds, taken in alternation.

    `clock` counts seconds: of the wall, or of the processor (`time.process_time`) for work of one thread on a shared machine.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for work in (ours, usual):
        work()  # warm up
    for _ in range(rounds):
        for work, kept in zip((ours, usual), times, strict=True):
            started = clock()
            work()
            kept.append(1000 * (clock() - started))
    one, two = (statistics.median(kept) for kept in times)
    return Measured(name, what, one, anchor, two, one / two, target)
