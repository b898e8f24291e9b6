"""The browser's estimates are those of the statistics modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reft_studio.audit.prevalence import Rates, no_rate, poison_rate, precision_at

Run = Callable[..., Any]
PARTS = "threshold_math prevalence_math"
CASES = [
    (130, 1000, 85, 100, 5, 100),
    (40, 1000, 95, 100, 5, 100),
    (960, 1000, 95, 100, 5, 100),
    (100_000, 1_000_000, 295, 300, 0, 300),
    (100, 10_000, 950, 1000, 50, 1000),
    (10_000, 10_000, 700, 1000, 50, 1000),
    (500, 1000, 52, 100, 48, 100),
]


@pytest.mark.parametrize("case", CASES)
def test_the_poison_rate_is_the_one_of_the_audit_module(run_js: Run, case: tuple[int, ...]) -> None:
    flagged, rows, *counts = case
    rates = dict(zip(("hits", "harmful", "alarms", "harmless"), counts, strict=True))
    found = run_js(PARTS, "poisonRate(data.flagged, data.rows, data.rates)", {"flagged": flagged, "rows": rows, "rates": rates})
    expected = poison_rate(flagged, rows, Rates.of(**rates))
    if expected is None:
        assert found == {"why": no_rate(flagged, rows, Rates.of(**rates))}
    else:
        numbers = [100 * found[name] for name in ("value", "low", "high")]
        assert numbers == pytest.approx([expected.value, expected.low, expected.high], abs=1e-9)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5])
@pytest.mark.parametrize("counts", [(97, 100, 2, 100), (300, 300, 0, 300), (0, 40, 0, 40)])
def test_the_precision_at_another_share_is_the_one_of_the_audit_module(run_js: Run, share: float, counts: tuple[int, ...]) -> None:
    rates = dict(zip(("hits", "harmful", "alarms", "harmless"), counts, strict=True))
    found = run_js(PARTS, "precisionIf(data.share, data.rates)", {"share": share, "rates": rates})
    expected = precision_at(share, Rates.of(**rates))
    assert expected is not None
    numbers = [100 * found[name] for name in ("value", "low", "high")]
    assert numbers == pytest.approx([expected.value, expected.low, expected.high], abs=1e-9)


def test_rates_at_a_line_count_the_prompts_at_or_above_it(run_js: Run) -> None:
    program = "ratesAt({ harmful: suffixCounts(data[0]), harmless: suffixCounts(data[1]) }, 1000)"
    found = run_js(PARTS, program, [[[1000, 3], [999, 1]], [[400, 5], [1800, 2]]])
    assert found == {"hits": 3, "harmful": 4, "alarms": 2, "harmless": 7}


def test_reading_times_are_said_in_minutes_and_hours(run_js: Run) -> None:
    program = "[readingTime(0, 20), readingTime(1, 20), readingTime(90, 20), readingTime(1000, 20), readingTime(100000, 20)]"
    assert run_js(PARTS, program) == ["0 min", "under a minute", "30 min", "5.6 h", "556 h"]
