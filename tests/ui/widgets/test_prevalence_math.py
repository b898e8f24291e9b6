"""The browser's estimates at a line are those of the audit modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reft_studio.audit.estimates import Evidence, at_line, estimates
from reft_studio.audit.prevalence import Rates, precision_at, staying_at
from reft_studio.data.grid import BINS
from reft_studio.stats import Estimate
from tests.audit.test_estimates import CLEAR, HARMFUL, HARMLESS, MOVED, NONE, sample
from ui.filter.numbers import estimate_value

Run = Callable[..., Any]
PARTS = "threshold_math prevalence_math"
SHARES = [(10.0, 8.0, 12.5), (0.1, 0.0, 0.4), (50.0, 50.0, 50.0), (0.0, 0.0, 0.3)]
COUNTS = [(97, 100, 2, 100), (300, 300, 0, 300), (0, 120, 0, 120), (120, 120, 120, 120)]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("counts", COUNTS)
def test_precision_and_rows_that_stay_are_those_of_the_audit_module(run_js: Run, share: tuple[float, ...], counts: tuple[int, ...]) -> None:
    rates = dict(zip(("hits", "harmful", "alarms", "harmless"), counts, strict=True))
    rate = dict(zip(("value", "low", "high"), (one / 100 for one in share), strict=True))
    program = "[precisionAt(data.rate, data.rates), stayingAt(data.rate, data.rates, 1000, 930)]"
    precision, staying = run_js(PARTS, program, {"rate": rate, "rates": rates})
    known = Estimate(*share, 1000, 0, "")  # type: ignore[misc]
    same(precision, precision_at(known, Rates.of(**rates)), 100)
    same(staying, staying_at(known, Rates.of(**rates), rows=1000, kept=930), 1)


def same(found: dict[str, float] | None, expected: Estimate | None, scale: float) -> None:
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert [scale * found[name] for name in ("value", "low", "high")] == pytest.approx(
            [expected.value, expected.low, expected.high], abs=1e-6
        )


LABELLED = replace(CLEAR, file=np.stack([HARMFUL, HARMLESS, NONE]))
CASES = {
    "mixture": CLEAR,
    "withheld": MOVED,
    "labels": LABELLED,
    "sample": replace(MOVED, sample=sample(5, 60, unsure=2)),
    "reviewed beside a calibration that holds": replace(CLEAR, sample=sample(90, 900)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("line", [0, 400, 1000, 1601, 1900])
def test_what_a_line_does_is_what_the_one_place_says(run_js: Run, case: str, line: int) -> None:
    evidence: Evidence = CASES[case]
    found = estimates(evidence)
    program = """atLine(data.estimate, { t: toValue(data.line), ...countsAt(suffixSums(data.bins), data.line) },
      { harmful: suffixCounts(data.harmful), harmless: suffixCounts(data.harmless) })"""
    assert evidence.calibration is not None
    told = {
        "estimate": estimate_value(found),
        "line": line,
        "bins": [[at, int(evidence.file[:, at].sum()), *map(int, evidence.file[:2, at])] for at in range(BINS)],
        **{kind: list(enumerate(counts.tolist())) for kind, counts in zip(("harmful", "harmless"), evidence.calibration, strict=True)},
    }
    answer, expected = run_js(PARTS, program, told), at_line(found, evidence, line)
    same(answer["precision"], expected.precision, 100)
    same(answer["staying"], expected.staying, 1)


def test_rates_at_a_line_count_the_prompts_at_or_above_it(run_js: Run) -> None:
    program = "ratesAt({ harmful: suffixCounts(data[0]), harmless: suffixCounts(data[1]) }, 1000)"
    found = run_js(PARTS, program, [[[1000, 3], [999, 1]], [[400, 5], [1800, 2]]])
    assert found == {"hits": 3, "harmful": 4, "alarms": 2, "harmless": 7}


def test_reading_times_are_said_in_minutes_and_hours(run_js: Run) -> None:
    program = "[readingTime(0, 20), readingTime(1, 20), readingTime(90, 20), readingTime(1000, 20), readingTime(100000, 20)]"
    assert run_js(PARTS, program) == ["0 min", "under a minute", "30 min", "5.6 h", "556 h"]
