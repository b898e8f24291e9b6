"""Bounds on the number of harmful rows among many, from a few drawn at random without replacement and read by people who overlook some.

The model. N rows, H of them harmful. n are drawn at random and read; a reader finds each harmful row among them with probability s, the
sensitivity, so that X of the n are found. Where it differs from row to row, s is its mean over the H rows, which varies X less
(Hoeffding, Ann. Math. Stat. 27, 1956). A harmless row that is called harmful makes X larger, hence every upper bound too.
With K harmful rows drawn, K is hypergeometric and X given K binomial:

    P(X = x) = sum over k of Hypergeometric(k; N, H, n) · Binomial(x; k, s)

The sensitivity is measured on *checks*: k known harmful prompts at random places of the same draw, of which f are found. That the share
found corrects a count is Rogan and Gladen's estimator (Am. J. Epidemiology 107, 1978); that the error of both must enter the interval,
Lang and Reiczigel (Preventive Veterinary Medicine 113, 2014). Here the error is divided, so that no normal approximation is needed:

1. `least_sensitivity`: a lower bound s0 on s that holds at every number of checks at once, with error a.
2. `fixed_bound`: the largest H with P(X <= x; H, s0) > b: exact (Clopper-Pearson, Biometrika 26, 1934; its hypergeometric form) for a
   sample whose size was fixed before. X grows with s and with H, so it errs with probability at most b where s >= s0.
3. `anytime_bound`: the largest H whose likelihood of the rows as they were read is at least c times that under a prior. The ratio of both
   is a martingale under the truth, so that by Ville's inequality it ever reaches 1/c with probability at most c: the prior-posterior-
   ratio confidence sequence (Waudby-Smith and Ramdas, NeurIPS 2020), with readers who overlook rows put into its likelihood.

By the union bound a claim that uses 2 at the planned size and 3 at every other is wrong, whenever one stops, with probability at most
a + b + c. `assurance.py` divides the 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import special

from reft_studio.stats import upper_bound

PRIOR = (1.0, 100.0)
"""Beta prior of the bound that holds at any time: it is tightest where about one row in a hundred is harmful, and valid everywhere."""
UNIFORM = (1.0, 1.0)
"""The prior where any share is as likely: for rows above a threshold."""
READERS = (10.0, 1.0)
"""Beta prior of a reader's sensitivity: the bound is tightest for readers who find nine rows in ten, and valid for all."""
FEW = 0.05
"""Share of the rows up to which a sample is treated as drawn with replacement."""
Prior = tuple[float, float]


@lru_cache(maxsize=1 << 16)
def fixed_bound(population: int, sampled: int, harmful: int, *, confidence: float, sensitivity: float = 1.0) -> float:
    """Exact bound, 0 to 1, for a sample whose size was fixed before; 1 where nothing was read.

    `sensitivity` is the least that readers have. Clopper-Pearson's (binomial) where the sample is less than one row in twenty, for which
    it is a little high; else that of the hypergeometric distribution, which draws without replacement follow.
    """
    if population == 0:
        return 0.0
    if sampled == 0 or sensitivity <= 0:
        return 1.0
    if sensitivity >= 1 and sampled >= population:
        return harmful / population
    if sampled < FEW * population:
        return min(1.0, upper_bound(harmful, sampled, confidence=confidence) / sensitivity)
    most = population if sensitivity < 1 else population - sampled + harmful
    possible = last(lambda number: _at_most(population, number, sampled, harmful, sensitivity) > 1 - confidence, harmful, most)
    return possible / population


@lru_cache(maxsize=1 << 16)
def anytime_bound(
    population: int, sampled: int, harmful: int, *, confidence: float, sensitivity: float = 1.0, prior: Prior = PRIOR
) -> float:
    """The bound, 0 to 1, that holds at every number of reads at once, so that one may look after each and stop when one likes."""
    if population == 0:
        return 0.0
    if sampled == 0 or sensitivity <= 0:
        return 1.0
    if sensitivity >= 1 and sampled >= population:
        return harmful / population
    least = math.log(1 - confidence) + _mixed(sampled, harmful, prior)
    most = population if sensitivity < 1 else population - sampled + harmful
    # the likelihood is highest near here, and falls from here on
    low = min(max(harmful, round(population * harmful / (sampled * sensitivity))), most)
    return last(lambda number: _log_likelihood(population, number, sampled, harmful, sensitivity) >= least, low, most) / population


@lru_cache(maxsize=1 << 16)
def anytime_floor(population: int, sampled: int, harmful: int, *, confidence: float, prior: Prior = UNIFORM) -> float:
    """The least share that is harmful, 0 to 1, at every number of reads at once: a reader who overlooks rows only makes it lower."""
    if population == 0 or sampled == 0:
        return 0.0
    if sampled >= population:
        return harmful / population
    least = math.log(1 - confidence) + _mixed(sampled, harmful, prior)
    high = min(max(harmful, round(population * harmful / sampled)), population - sampled + harmful)
    below = last(lambda number: _log_likelihood(population, number, sampled, harmful, 1.0) < least, harmful - 1, high - 1)
    return (below + 1) / population


@lru_cache(maxsize=1 << 14)
def least_sensitivity(checks: int, found: int, *, confidence: float, prior: Prior = READERS) -> float:
    """The least share, 0 to 1, of harmful rows that readers find, from checks of which they found some; it holds at any time.

    The same confidence sequence as above, for independent checks: the lowest s whose likelihood is at least 1 - confidence times that
    under the prior. 0 without checks.
    """
    if found == 0:
        return 0.0
    least = math.log(1 - confidence) + _mixed(checks, found, prior)
    low, high = 0.0, found / checks
    for _ in range(60):  # halves the interval each time: to the last bit
        middle = (low + high) / 2
        likely = found * math.log(middle) + (special.xlog1py(checks - found, -middle)) if middle else -math.inf
        low, high = (low, middle) if likely >= least else (middle, high)
    return low


@lru_cache(maxsize=1 << 12)
def most_overlooked(found: int, *, among: int, confidence: float, sensitivity: float) -> int:
    """How many of `among` rows that were taken for harmless may be harmful, where `found` were found: at every moment of the reading.

    The error is divided over all numbers that may be found: found + 1 gets 1 / ((found + 1)(found + 2)) of it, which adds up to all.
    """
    if sensitivity >= 1 or sensitivity <= 0:
        return 0 if sensitivity >= 1 else among
    error = (1 - confidence) / ((found + 1) * (found + 2))
    return last(lambda more: special.bdtr(found, found + more, sensitivity) > error, 0, among)


def at_most(successes: int, trials: int, chance: float) -> float:
    """Probability of so few successes, or fewer, by the binomial distribution."""
    return float(special.bdtr(successes, trials, chance))


def last(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The largest number of low..high that `holds`, which does up to some number and not beyond; `low` if none does."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def smallest_sample(target: float, *, confidence: float) -> int:
    """How many rows, none of them harmful, bring Clopper-Pearson's bound to `target`."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-target))


def _at_most(population: int, number: int, sampled: int, found: int, sensitivity: float) -> float:
    """Probability that so few rows are found in the sample, or fewer, if `number` of the population are harmful."""
    drawn, chance = _harmful_drawn(population, number, sampled)
    return float(np.dot(np.exp(chance), np.where(drawn <= found, 1.0, special.bdtr(found, np.maximum(drawn, found), sensitivity))))


def _log_likelihood(population: int, number: int, sampled: int, found: int, sensitivity: float) -> float:
    """Logarithm of the probability of a sequence of reads with so many found, if `number` of the population are harmful."""
    if sensitivity >= 1:
        if number < found or number > population - sampled + found:
            return -math.inf
        return _log_choose(population - sampled, number - found) - _log_choose(population, number)
    drawn, chance = _harmful_drawn(population, number, sampled, from_=found)
    if not len(drawn):
        return -math.inf
    seen = special.gammaln(drawn + 1) - special.gammaln(drawn - found + 1) - math.lgamma(found + 1)
    terms = chance + seen + (drawn - found) * math.log1p(-sensitivity)
    top = float(terms.max())
    return top + math.log(float(np.exp(terms - top).sum())) + found * math.log(sensitivity) - _log_choose(sampled, found)


def _harmful_drawn(population: int, number: int, sampled: int, *, from_: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """How many harmful rows a sample may hold, and the logarithm of the probability of each: all that matter of them.

    Beyond 12 standard deviations above the mean the probability is under 1e-30.
    """
    mean = sampled * number / population
    most = min(sampled, number, math.ceil(max(mean, from_) + 12 * math.sqrt(mean + 1) + 30))
    least = max(0, sampled - (population - number), from_)
    drawn = np.arange(least, most + 1)
    chance = (
        special.gammaln(number + 1)
        - special.gammaln(drawn + 1)
        - special.gammaln(number - drawn + 1)
        + special.gammaln(population - number + 1)
        - special.gammaln(sampled - drawn + 1)
        - special.gammaln(population - number - sampled + drawn + 1)
        - _log_choose(population, sampled)
    )
    return drawn, chance


def _mixed(sampled: int, harmful: int, prior: Prior) -> float:
    """Logarithm of the probability of the reads under the prior."""
    a, b = prior
    return _log_beta(a + harmful, b + sampled - harmful) - _log_beta(a, b)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
