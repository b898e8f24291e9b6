from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reft_studio.comparison.charts.training import smoothed

Run = Callable[..., Any]


def test_curves_are_smoothed_as_in_the_report(run_js: Run) -> None:
    values = [2.0, None, 1.0, 4.0, 0.5]
    assert run_js("curve_math", "smoothed(data, 0.6)", values) == pytest.approx(smoothed(values, 0.6), nan_ok=True)


def test_ticks_are_round_and_inside(run_js: Run) -> None:
    assert run_js("curve_math", "ticks(0, 1, 5)") == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert run_js("curve_math", "ticks(0.37, 2.1, 3)") == [1, 2]
    assert run_js("curve_math", "logTicks(0.03, 2.5)") == [0.05, 0.1, 0.2, 0.5, 1, 2]


def test_the_extent_ignores_gaps_and_for_a_log_axis_what_has_no_logarithm(run_js: Run) -> None:
    assert run_js("curve_math", "extent([[null, 2, -1], [5]])") == [-1, 5]
    assert run_js("curve_math", "extent([[null, 2, -1], [5]], true)") == [2, 5]
    assert run_js("curve_math", "extent([[null]])") is None


@pytest.mark.parametrize(("at", "position"), [(-3, 0), (1.4, 0), (1.6, 1), (9, 3)])
def test_the_pointer_reads_the_nearest_step(run_js: Run, at: float, position: int) -> None:
    assert run_js("curve_math", "nearest([1, 2, 4, 8], data)", at) == position


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0"), (0.00021, "2.1e-4"), (0.5961, "0.596"), (12.345, "12.3"), (5046, "5046")]
)
def test_numbers_fit_a_small_label(run_js: Run, value: float | None, text: str) -> None:
    assert run_js("curve_math", "brief(data)", value) == text
