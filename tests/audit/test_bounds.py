"""Bounds on what nobody read: exact, and holding as often as they claim."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reft_studio.audit.bounds import anytime_bound, fixed_bound, smallest_sample


def test_none_harmful_in_300_is_not_zero() -> None:
    bound = fixed_bound(10_000, 300, 0, confidence=0.95)
    assert bound == pytest.approx(1 - 0.05 ** (1 / 300)) and bound == pytest.approx(3 / 300, rel=0.01)  # the rule of three


def test_the_fixed_bound_is_the_exact_binomial_one() -> None:
    """At the bound, seeing this few harmful rows or fewer has exactly 5 % probability."""
    for sampled, harmful in ((50, 0), (50, 3), (200, 11)):
        bound = fixed_bound(10**6, sampled, harmful, confidence=0.95)
        assert stats.binom.cdf(harmful, sampled, bound) == pytest.approx(0.05, abs=1e-9)


def test_of_a_small_population_the_fixed_bound_is_the_exact_hypergeometric_one() -> None:
    for population, sampled, harmful in ((100, 20, 0), (60, 30, 4), (650, 60, 2)):
        number = round(population * fixed_bound(population, sampled, harmful, confidence=0.95))
        assert (
            stats.hypergeom.cdf(harmful, population, number, sampled)
            > 0.05
            >= stats.hypergeom.cdf(harmful, population, number + 1, sampled)
        )


def test_nothing_read_says_nothing_and_all_read_says_all() -> None:
    for bound in (fixed_bound, anytime_bound):
        assert bound(100, 0, 0, confidence=0.95) == 1.0
        assert bound(100, 100, 7, confidence=0.95) == 0.07
        assert bound(0, 0, 0, confidence=0.95) == 0.0


def test_the_bound_for_any_time_is_above_the_fixed_one_but_not_by_much() -> None:
    for sampled, harmful in ((50, 0), (299, 0), (299, 2), (1000, 10)):
        fixed, free = (bound(100_000, sampled, harmful, confidence=0.95) for bound in (fixed_bound, anytime_bound))
        assert fixed < free < 1.8 * fixed


def test_the_smallest_sample_is_just_enough() -> None:
    for target in (0.01, 0.02, 0.05):
        size = smallest_sample(target, confidence=0.95)
        assert fixed_bound(10**6, size, 0, confidence=0.95) <= target < fixed_bound(10**6, size - 1, 0, confidence=0.95)


@pytest.mark.parametrize("share", [0.004, 0.012, 0.05])
def test_looking_after_every_read_and_stopping_at_the_best_moment_is_wrong_at_most_once_in_twenty(share: float) -> None:
    """400 reviewers read up to 400 of 3,000 rows and stop when the bound is lowest: it must still cover, less 3 standard errors."""
    draw, population, reads = np.random.default_rng(1), 3000, 400
    harmful = np.zeros(population, dtype=bool)
    harmful[: round(share * population)] = True
    found = [int(value) for value in range(0, 60)]
    table = {(n, x): anytime_bound(population, n, x, confidence=0.95) for n in range(20, reads + 1, 20) for x in found if x <= n}
    missed = 0
    for _ in range(400):
        counts = np.cumsum(draw.permutation(harmful)[:reads])
        missed += min(table[n, int(counts[n - 1])] for n in range(20, reads + 1, 20)) < harmful.mean()
    assert missed / 400 <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_stopping_the_fixed_bound_at_its_best_moment_would_be_wrong_more_often() -> None:
    """Why the bound for any time is there: the exact one, looked at after every read, misses far more than 5 %."""
    draw, share, missed = np.random.default_rng(1), 0.03, 0
    for _ in range(300):
        counts = np.cumsum(draw.random(1500) < share)
        missed += min(fixed_bound(10**6, n, int(counts[n - 1]), confidence=0.95) for n in range(100, 1501, 20)) < share
    assert missed / 300 > 0.1
