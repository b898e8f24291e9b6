"""Bounds on what nobody read: exact, and holding as often as they claim."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from reft_studio.audit.bounds import (
    UNIFORM,
    anytime_bound,
    anytime_floor,
    fixed_bound,
    least_sensitivity,
    most_overlooked,
    smallest_sample,
)
from reft_studio.audit.claim import bound_of


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


# --- readers who overlook rows ------------------------------------------------------------------------------------------------------


def found_of(population: int, harmful: int, sampled: int, sensitivity: float) -> np.ndarray:
    """(sampled + 1,) probability of each number of finds: hypergeometric, then binomial."""
    drawn, numbers = np.arange(sampled + 1), np.arange(sampled + 1)
    by_drawn = stats.hypergeom.pmf(drawn, population, harmful, sampled)
    return by_drawn @ stats.binom.pmf(numbers[None, :], drawn[:, None], sensitivity)


@pytest.mark.parametrize("sensitivity", [1.0, 0.9, 0.7, 0.4])
@pytest.mark.parametrize(("population", "sampled"), [(40, 15), (40, 40), (400, 15)])
def test_the_fixed_bound_errs_as_seldom_as_it_says_whatever_the_truth(population: int, sampled: int, sensitivity: float) -> None:
    bounds = np.array([fixed_bound(population, sampled, x, confidence=0.95, sensitivity=sensitivity) for x in range(sampled + 1)])
    for harmful in range(0, population + 1, max(1, population // 40)):
        wrong = found_of(population, harmful, sampled, sensitivity)[bounds < harmful / population - 1e-12].sum()
        assert wrong <= 0.05 + 1e-9, harmful


@pytest.mark.parametrize("sensitivity", [0.9, 0.7])
def test_a_row_that_is_read_without_a_find_may_be_a_harmful_one_that_was_overlooked(sensitivity: float) -> None:
    """All read and none found: as many may be left as are likely enough to be overlooked together."""
    left = round(50 * fixed_bound(50, 50, 0, confidence=0.95, sensitivity=sensitivity))
    assert (1 - sensitivity) ** left > 0.05 >= (1 - sensitivity) ** (left + 1)


def ever_wrong(population: int, harmful: int, sensitivity: float, bound: Callable[[int, int], float]) -> float:
    """Exact probability that a bound is below the truth after some read, over all orders of the rows and all finds of the reader."""
    states, wrong = {(0, 0): 1.0}, 0.0  # (harmful rows read, found)
    for read in range(population):
        following: dict[tuple[int, int], float] = {}
        for (drawn, found), chance in states.items():
            bad = (harmful - drawn) / (population - read)
            for step, part in (((0, 0), 1 - bad), ((1, 1), bad * sensitivity), ((1, 0), bad * (1 - sensitivity))):
                if part > 0:
                    state = (drawn + step[0], found + step[1])
                    following[state] = following.get(state, 0.0) + chance * part
        failed = {found for _, found in following if bound(read + 1, found) < harmful / population - 1e-12}
        wrong += sum(chance for (_, found), chance in following.items() if found in failed)
        states = {state: chance for state, chance in following.items() if state[1] not in failed}
    return wrong


@pytest.mark.parametrize(("sensitivity", "harmful"), [(1.0, 3), (1.0, 12), (0.8, 4), (0.8, 15), (0.5, 10)])
def test_the_bound_for_any_time_is_ever_wrong_as_seldom_as_it_says(sensitivity: float, harmful: int) -> None:
    def bound(read: int, found: int) -> float:
        return anytime_bound(40, read, found, confidence=0.95, sensitivity=sensitivity)

    assert ever_wrong(40, harmful, sensitivity, bound) <= 0.05 + 1e-9


@pytest.mark.parametrize(("population", "planned", "harmful"), [(60, 30, 4), (60, 30, 8), (120, 40, 6), (120, 40, 9)])
def test_both_parts_of_a_claim_together_are_ever_wrong_in_at_most_5_of_100_audits(population: int, planned: int, harmful: int) -> None:
    """The planned draw's bound at its end and the other one at every other read: exact, for a reader who overlooks nothing."""
    wrong = ever_wrong(population, harmful, 1.0, lambda read, found: bound_of(population, read, found, planned=planned))
    assert wrong <= 0.05 + 1e-9


def _undivided(population: int, read: int, found: int, planned: int) -> float:
    """Both parts with the whole error each."""
    return (fixed_bound if read == planned else anytime_bound)(population, read, found, confidence=0.95)


def test_with_the_whole_error_for_either_part_the_claim_would_be_wrong_more_often() -> None:
    assert ever_wrong(300, 22, 1.0, lambda read, found: _undivided(300, read, found, 59)) > 0.06
    assert ever_wrong(300, 22, 1.0, lambda read, found: bound_of(300, read, found, planned=59)) <= 0.05


@pytest.mark.parametrize("truth", [0.95, 0.8, 0.5])
def test_the_least_sensitivity_is_ever_too_high_as_seldom_as_it_says(truth: float) -> None:
    chances, wrong = {0: 1.0}, 0.0
    for read in range(1, 61):
        following: dict[int, float] = {}
        for found, chance in chances.items():
            for hit, part in ((1, truth), (0, 1 - truth)):
                following[found + hit] = following.get(found + hit, 0.0) + chance * part
        failed = {found for found in following if least_sensitivity(read, found, confidence=0.95) > truth + 1e-12}
        wrong += sum(following[found] for found in failed)
        chances = {found: chance for found, chance in following.items() if found not in failed}
    assert wrong <= 0.05


def test_the_floor_of_precision_mirrors_the_bound() -> None:
    """With the uniform prior, harmful and harmless change places."""
    for population, sampled, harmful in ((100, 20, 15), (400, 100, 98), (60, 60, 51)):
        floor = anytime_floor(population, sampled, harmful, confidence=0.975)
        ceiling = anytime_bound(population, sampled, sampled - harmful, confidence=0.975, prior=UNIFORM)
        assert floor == pytest.approx(1 - ceiling)


def test_overlooked_rows_among_those_read_before_are_bounded_at_any_number_of_finds() -> None:
    assert most_overlooked(0, among=50, confidence=0.95, sensitivity=1.0) == 0
    most = most_overlooked(0, among=50, confidence=0.95, sensitivity=0.8)
    assert (
        most_overlooked(0, among=1, confidence=0.95, sensitivity=0.8) == 1
        and most_overlooked(3, among=9, confidence=0.95, sensitivity=0) == 9
    )
    assert 0.2**most > 0.025 >= 0.2 ** (most + 1)  # half of the error is for the case that none is found
    assert most_overlooked(9, among=50, confidence=0.95, sensitivity=0.8) > most
