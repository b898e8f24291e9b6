"""The Pareto frontier of models, and pairs whose intervals overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from reft_studio.comparison.table import HIGHER_IS_BETTER, Metric
from reft_studio.stats import Estimate


class FrontierPoint(Protocol):
    """A run or the mean over a method's seeds."""

    def metric(self, name: Metric) -> Estimate | None: ...


def non_dominated(points: Sequence[FrontierPoint], metrics: Sequence[Metric] = ("hs", "fa")) -> list[int]:
    """Indices of the points that no other point dominates (equal or better on every metric, better on one); intervals are ignored.

    A point without one of the metrics is excluded.
    """
    values = [_goodness(point, metrics) for point in points]
    return [i for i, own in enumerate(values) if own and not any(_beats(other, own) for other in values if other)]


def not_separable(points: Sequence[FrontierPoint], metrics: Sequence[Metric] = ("hs", "fa")) -> list[tuple[int, int]]:
    """Pairs of points whose intervals overlap on every metric: they alone support no claim that one is better."""
    overlapping = []
    for i, a in enumerate(points):
        for j in range(i + 1, len(points)):
            pairs = [(a.metric(name), points[j].metric(name)) for name in metrics]
            if all(x is not None and y is not None and overlap(x, y) for x, y in pairs):
                overlapping.append((i, j))
    return overlapping


def overlap(a: Estimate, b: Estimate) -> bool:
    """Whether two intervals share a value."""
    return a.low <= b.high and b.low <= a.high


def _goodness(point: FrontierPoint, metrics: Sequence[Metric]) -> tuple[float, ...] | None:
    """Values with signs such that higher is better; None if one is missing."""
    estimates = [point.metric(name) for name in metrics]
    if any(estimate is None for estimate in estimates):
        return None
    return tuple(e.value if HIGHER_IS_BETTER[name] else -e.value for name, e in zip(metrics, estimates, strict=True) if e is not None)


def _beats(other: tuple[float, ...], mine: tuple[float, ...]) -> bool:
    return all(o >= m for o, m in zip(other, mine, strict=True)) and other != mine
