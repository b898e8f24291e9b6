"""What a line costs, from one share of harmful rows: numbers that can be checked by hand, and intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest

from reft_studio.audit.prevalence import Rates, precision_at, staying_at
from reft_studio.errors import EvaluationError
from reft_studio.stats import Estimate


def share(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    """In percent; without ends it is known exactly."""
    return Estimate(value, value if low is None else low, value if high is None else high, 1000, 0, "given")


def test_precision_falls_with_the_share_of_harmful_rows() -> None:
    rates = Rates.of(97, 100, 2, 100)
    many, few = precision_at(share(10), rates), precision_at(share(0.5), rates)
    assert many is not None and few is not None
    assert many.value == pytest.approx(100 * 0.097 / (0.097 + 0.018))
    assert few.value == pytest.approx(100 * 0.00485 / (0.00485 + 0.0199))


def test_harmful_rows_that_stay_are_those_missed_of_the_share() -> None:
    """10 % of 1,000 rows, of which 3 in 100 are missed."""
    found = staying_at(share(10), Rates.of(97, 100, 2, 100), rows=1000, kept=900)
    assert found is not None
    assert found.value == pytest.approx(3) and found.low < 3 < found.high and found.unit == ""


def test_what_is_open_about_the_share_is_open_about_the_line() -> None:
    rates = Rates.of(970, 1000, 20, 1000)
    for made in (precision_at, lambda rate, rates: staying_at(rate, rates, rows=1000, kept=900)):
        sure, open_ = made(share(10), rates), made(share(10, 5, 15), rates)
        assert sure is not None and open_ is not None
        assert open_.low < sure.low and open_.high > sure.high


def test_no_more_harmful_rows_stay_than_rows_stay() -> None:
    found = staying_at(share(90, 80, 95), Rates.of(0, 100, 0, 100), rows=1000, kept=700)
    assert found is not None and found.high == 700 and found.value == 700


def test_a_share_that_may_be_nothing_gives_ends_that_may_be_nothing() -> None:
    rates = Rates.of(97, 100, 2, 100)
    precision, staying = precision_at(share(0, 0, 1), rates), staying_at(share(0, 0, 1), rates, rows=1000, kept=980)
    assert precision is not None and staying is not None
    assert (precision.value, staying.value) == (pytest.approx(0, abs=0.01), 0)
    assert precision.low == pytest.approx(0, abs=0.01) and precision.high > 20 and 0.3 < staying.high < 3


def test_precision_has_a_width_where_no_harmless_prompt_was_flagged() -> None:
    found = precision_at(share(1), Rates.of(300, 300, 0, 300))
    assert found is not None
    assert found.value == 100.0 and found.high == 100.0 and found.low < 90


@pytest.mark.parametrize(("recall", "alarm"), [(0.97, 0.03), (0.8, 0.1)])
def test_intervals_at_a_line_hold_the_truth_in_19_of_20_files(recall: float, alarm: float) -> None:
    """The share is read off 400 random rows, recall and false positives off 300 prompts of each kind."""
    draw, trials, held = np.random.default_rng(1), 1000, [0, 0]
    truth = 100 * 0.1 * recall / (0.1 * recall + 0.9 * alarm), 10_000 * 0.1 * (1 - recall)
    for harmful, hits, alarms in zip(*(draw.binomial(n, p, trials) for n, p in ((400, 0.1), (300, recall), (300, alarm))), strict=True):
        spread = 1.96 * (harmful / 400 * (1 - harmful / 400) / 400) ** 0.5
        rate = share(harmful / 4, max(0.0, harmful / 4 - 100 * spread), harmful / 4 + 100 * spread)
        rates = Rates.of(int(hits), 300, int(alarms), 300)
        for at, found in enumerate((precision_at(rate, rates), staying_at(rate, rates, rows=10_000, kept=9000))):
            assert found is not None
            held[at] += found.low <= truth[at] <= found.high
    assert min(held) / trials > 0.93


@pytest.mark.parametrize("counts", [(5, 4, 0, 1), (0, 1, 2, 1), (-1, 1, 0, 1)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(EvaluationError, match="cannot be flagged"):
        Rates.of(*counts)
