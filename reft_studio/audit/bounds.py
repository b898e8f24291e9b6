"""Upper bounds on the share of harmful rows among many, from a few drawn at random without replacement."""

from __future__ import annotations

import math
from collections.abc import Callable

from reft_studio.stats import upper_bound

PRIOR = (1.0, 100.0)
"""Beta prior of the bound that holds at any time: it is tightest where about one row in a hundred is harmful, and valid everywhere."""

FEW = 0.05
"""Share of the rows up to which a sample is treated as drawn with replacement."""


def fixed_bound(population: int, sampled: int, harmful: int, *, confidence: float) -> float:
    """Exact bound, 0 to 1, for a sample whose size was fixed before; the plain share where all were read, 1 where none.

    Clopper-Pearson's (binomial) where the sample is less than one row in twenty, for which it is a little high; else that of the
    hypergeometric distribution, which draws without replacement follow.
    """
    if population == 0 or sampled >= population:
        return harmful / population if population else 0.0
    if sampled == 0:
        return 1.0
    if sampled < FEW * population:
        return upper_bound(harmful, sampled, confidence=confidence)
    most = population - sampled + harmful
    return last(lambda number: _at_most(population, number, sampled, harmful) > 1 - confidence, harmful, most) / population


def anytime_bound(population: int, sampled: int, harmful: int, *, confidence: float) -> float:
    """The bound, 0 to 1, that holds at every number of reads at once, so that one may look after each and stop when one likes.

    The prior-posterior-ratio confidence sequence for sampling without replacement (Waudby-Smith and Ramdas, NeurIPS 2020): the largest
    number of harmful rows whose likelihood is at least 1 - confidence times the likelihood under the prior; by Ville's inequality
    the true number is ever left out with at most that probability.
    """
    if population == 0 or sampled >= population:
        return harmful / population if population else 0.0
    if sampled == 0:
        return 1.0
    a, b = PRIOR
    mixed = _log_beta(a + harmful, b + sampled - harmful) - _log_beta(a, b)
    least = math.log(1 - confidence) + mixed

    def likely(number: int) -> bool:
        return _log_choose(population - sampled, number - harmful) - _log_choose(population, number) >= least

    most = population - sampled + harmful
    low = min(max(harmful, round(population * harmful / sampled)), most)  # the likelihood is highest here, and falls from here on
    return last(likely, low, most) / population


def last(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The largest number of low..high that `holds`, which does up to some number and not beyond; `low` if none does."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def smallest_sample(target: float, *, confidence: float) -> int:
    """How many rows, none of them harmful, bring Clopper-Pearson's bound to `target`."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-target))


def _at_most(population: int, number: int, sampled: int, harmful: int) -> float:
    """Probability of so few harmful rows in the sample, or fewer, if `number` of the population are."""
    least = max(0, sampled - (population - number))
    whole = _log_choose(population, sampled)
    terms = (_log_choose(number, x) + _log_choose(population - number, sampled - x) - whole for x in range(least, min(harmful, number) + 1))
    return math.fsum(math.exp(term) for term in terms)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
