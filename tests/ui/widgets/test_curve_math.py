from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reft_studio.comparison.charts.training import smoothed

Run = Callable[..., Any]


def test_curves_are_smoothed_as_in_the_report(run_js: Run) -> None:
    values = [2.0, None, 1.0, 4.0, 0.5]
    assert run_js("curve_math", "smoothed(data, 0.6)", values) == pytest.approx(smoothed(values, 0.6), nan_ok=True)


@pytest.mark.parametrize(("at", "position"), [(-3, 0), (1.4, 0), (1.6, 1), (9, 3)])
def test_the_pointer_reads_the_nearest_step(run_js: Run, at: float, position: int) -> None:
    assert run_js("curve_math", "nearest([1, 2, 4, 8], data)", at) == position


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0"), (0.00021, "2.1e-4"), (0.5961, "0.596"), (12.345, "12.3"), (5046, "5046")]
)
def test_numbers_fit_a_small_label(run_js: Run, value: float | None, text: str) -> None:
    assert run_js("curve_math", "brief(data)", value) == text
