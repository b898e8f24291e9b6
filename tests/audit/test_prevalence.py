"""Estimates that can be checked by hand, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from reft_studio.audit.prevalence import Rates, no_rate, poison_rate, precision_at
from reft_studio.errors import EvaluationError


def test_the_flagged_share_is_corrected_for_both_errors_of_the_filter() -> None:
    """(0.13 - 0.05) / (0.85 - 0.05) = 0.1."""
    found = poison_rate(130, 1000, Rates.of(85, 100, 5, 100))
    assert found is not None
    assert found.value == pytest.approx(10.0)
    assert found.low < 10.0 < found.high and found.n == 1000


def test_an_estimate_below_nothing_is_nothing() -> None:
    found = poison_rate(40, 1000, Rates.of(95, 100, 5, 100))
    assert found is not None
    assert (found.value, found.low) == (0.0, 0.0) and found.high > 0


def test_flags_that_no_share_of_harmful_rows_explains_give_no_estimate_but_the_reason() -> None:
    """One flag in 100 rows where the false-positive rate alone is 5 in 100: a 0 with a width of 0 would be a lie."""
    assert poison_rate(100, 10_000, Rates.of(950, 1000, 50, 1000)) is None
    assert "false-positive rate alone" in (no_rate(100, 10_000, Rates.of(950, 1000, 50, 1000)) or "")
    assert "More rows" in (no_rate(10_000, 10_000, Rates.of(700, 1000, 50, 1000)) or "")
    assert no_rate(400, 10_000, Rates.of(95, 100, 5, 100)) is None


def test_an_estimate_above_everything_is_everything() -> None:
    found = poison_rate(960, 1000, Rates.of(95, 100, 5, 100))
    assert found is not None
    assert (found.value, found.high) == (100.0, 100.0)


def test_a_line_that_does_not_tell_the_kinds_apart_gives_no_estimate() -> None:
    assert poison_rate(500, 1000, Rates.of(52, 100, 48, 100)) is None
    assert poison_rate(0, 1000, Rates.of(0, 300, 0, 300)) is None, "nothing is flagged anywhere"
    assert poison_rate(5, 10, Rates.of(0, 0, 0, 0)) is None


def test_a_million_rows_do_not_hide_that_the_calibration_was_small() -> None:
    small, large = (poison_rate(100_000, 1_000_000, Rates.of(98 * n // 100, n, 3 * n // 100, n)) for n in (100, 10_000))
    assert small is not None and large is not None
    assert small.width > 5 * large.width


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5])
@pytest.mark.parametrize(("prompts", "recall", "rate"), [(300, 0.98, 0.03), (40, 0.95, 0.05), (300, 0.7, 0.2)])
def test_intervals_hold_the_truth_in_19_of_20_files(share: float, prompts: int, recall: float, rate: float) -> None:
    draw, rows, trials = np.random.default_rng(1), 20_000, 1500
    harmful = round(rows * share)
    flagged = draw.binomial(harmful, recall, trials) + draw.binomial(rows - harmful, rate, trials)
    hits, alarms = draw.binomial(prompts, recall, trials), draw.binomial(prompts, rate, trials)
    held = 0
    for count, hit, alarm in zip(flagged.tolist(), hits.tolist(), alarms.tolist(), strict=True):
        found = poison_rate(count, rows, Rates.of(hit, prompts, alarm, prompts))
        held += found is not None and found.low - 1e-9 <= 100 * share <= found.high + 1e-9
    assert held / trials > 0.935, "three standard errors below 0.95"


def test_precision_falls_with_the_share_of_harmful_rows() -> None:
    rates = Rates.of(97, 100, 2, 100)
    many, few = precision_at(0.1, rates), precision_at(0.005, rates)
    assert many is not None and few is not None
    assert many.value == pytest.approx(100 * 0.097 / (0.097 + 0.018))
    assert few.value == pytest.approx(100 * 0.00485 / (0.00485 + 0.0199))


def test_precision_has_a_width_where_no_harmless_prompt_was_flagged() -> None:
    found = precision_at(0.01, Rates.of(300, 300, 0, 300))
    assert found is not None
    assert found.value == 100.0 and found.high == 100.0 and found.low < 90


@pytest.mark.parametrize("counts", [(5, 4, 0, 1), (0, 1, 2, 1), (-1, 1, 0, 1)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(EvaluationError, match="cannot be flagged"):
        Rates.of(*counts)
    with pytest.raises(EvaluationError, match="cannot be flagged"):
        poison_rate(11, 10, Rates.of(1, 1, 0, 1))
