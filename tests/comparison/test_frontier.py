from __future__ import annotations

from dataclasses import dataclass

from reft_studio.comparison.frontier import non_dominated, not_separable, overlap
from reft_studio.comparison.table import Metric
from reft_studio.stats import Estimate, wilson


@dataclass(frozen=True)
class Point:
    hs: Estimate | None
    fa: Estimate | None

    def metric(self, name: Metric) -> Estimate | None:
        return self.hs if name == "hs" else self.fa


def point(hs: int | None, fa: int | None, n: int = 1000) -> Point:
    return Point(wilson(hs * n // 100, n) if hs is not None else None, wilson(fa * n // 100, n) if fa is not None else None)


def test_only_points_that_no_other_beats_on_both_are_on_the_frontier() -> None:
    points = [point(10, 80), point(20, 90), point(20, 70), point(90, 95), point(95, 95)]
    assert non_dominated(points) == [0, 1, 3]


def test_equal_points_do_not_beat_each_other() -> None:
    assert non_dominated([point(10, 80), point(10, 80)]) == [0, 1]


def test_a_point_without_one_of_the_numbers_is_not_on_the_frontier() -> None:
    assert non_dominated([point(10, None), point(90, 10)]) == [1]
    assert non_dominated([]) == []


def test_points_are_not_separable_when_intervals_overlap_on_both_axes() -> None:
    assert not_separable([point(10, 80), point(11, 81), point(50, 80)]) == [(0, 1)]


def test_intervals_that_touch_overlap() -> None:
    a, b = Estimate(1, 0, 2, 9, 0, ""), Estimate(3, 2, 4, 9, 0, "")
    assert overlap(a, b)
    assert not overlap(a, Estimate(3, 2.1, 4, 9, 0, ""))
