"""Differences between two models on the same rows, and whether they are more than chance."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from reft_studio.errors import EvaluationError
from reft_studio.stats import Estimate, bootstrap_ratio, by_cluster, root, z_of


@dataclass(frozen=True)
class Tested:
    """A difference and the two-sided p-value of there being none."""

    estimate: Estimate
    p_value: float


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p that two paired models differ, from the prompts on which exactly one of them is flagged. 1 if there is none."""
    if min(only_a, only_b) < 0:
        raise EvaluationError(f"The counts of flips are {only_a} and {only_b}; a count cannot be negative.")
    total = only_a + only_b
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), total, 0.5))) if total else 1.0


def sign_flip(changes: Sequence[int], clusters: Sequence[Hashable]) -> float:
    """Exact two-sided p that two paired models differ, for rows in clusters (the same prompt many times); `changes` are -1, 0 or 1.

    Without a difference the sum of each cluster is as likely as its negative, and the clusters are independent; the chance of a total
    at least as far from 0 is summed over all signs. With a cluster for each row it is McNemar's exact test.
    """
    if not len(changes):
        return 1.0
    sums, _ = by_cluster(np.asarray(changes, dtype=float), clusters)
    sizes = [abs(round(value)) for value in sums if value]
    seen = abs(round(float(sums.sum())))
    chances = np.ones(1)
    for size in sizes:
        wider = np.zeros(len(chances) + 2 * size)
        wider[: len(chances)] = chances
        wider[2 * size :] += chances
        chances = wider / 2
    totals = np.abs(np.arange(len(chances)) - sum(sizes))
    return min(1.0, float(chances[totals >= seen].sum()))


def paired_difference(a: Sequence[bool], b: Sequence[bool], *, clusters: Sequence[Hashable] | None = None, seed: int = 0) -> Estimate:
    """Difference of two shares on the same rows, b minus a, in percentage points.

    The interval is Tango's score interval (Statistics in Medicine 17, 1998), which keeps a width when no row differs; with `clusters`
    of more than one row it is a paired bootstrap over clusters.
    """
    if len(a) != len(b) or not len(a):
        raise EvaluationError(f"A paired comparison needs the same rows on both sides, but there are {len(a)} and {len(b)}.")
    change = np.asarray(b, dtype=float) - np.asarray(a, dtype=float)
    value, n = 100 * float(change.mean()), len(change)
    if clusters is not None and change.min() != change.max():
        sums, sizes = by_cluster(change, clusters)
        if len(sums) < n:
            low, high = bootstrap_ratio(sums, sizes, seed=seed)
            return Estimate(value, 100 * low, 100 * high, n, 0, "paired cluster bootstrap", "points")
    low, high = _tango(int((change > 0).sum()), int((change < 0).sum()), n)
    return Estimate(value, 100 * low, 100 * high, n, 0, "Tango", "points")


def crossed_difference(changes: ArrayLike, *, clusters: Sequence[Hashable] | None = None, confidence: float = 0.95) -> Tested:
    """Mean difference over several seeds on the same prompts, in percentage points; `changes` is (seeds, prompts) of -1, 0 and 1.

    The noise of seeds (Student's t) and of prompts (normal) are added, so neither few seeds nor few prompts alone can make a claim. With
    `clusters`, a name for each prompt, those of one name vary together (the linearised variance of a mean over clusters). The p-value is
    the level at which the interval reaches 0. Raises EvaluationError with fewer than two seeds.
    """
    values = np.atleast_2d(np.asarray(changes, dtype=float))
    seeds, prompts = values.shape
    if seeds < 2 or prompts < 1:
        raise EvaluationError(f"A difference over seeds needs 2 seeds and a prompt, but there are {seeds} and {prompts}.")
    mean = float(values.mean())
    by_seed = float(values.mean(axis=1).std(ddof=1)) / math.sqrt(seeds)
    # Tango's width stands in where no prompt differs from another, which is when a variance says nothing
    low, high = _tango(round(max(mean, 0) * prompts), round(max(-mean, 0) * prompts), prompts)
    sums, sizes = by_cluster(values.mean(axis=0), range(prompts) if clusters is None else clusters)
    apart, count = sums - mean * sizes, len(sums)
    spread = math.sqrt(float(apart @ apart) * count / (count - 1)) / prompts if count > 1 else 0.0
    by_prompt = spread or (high - low) / (2 * z_of(0.95))

    def half(level: float) -> float:
        return math.hypot(float(special.stdtrit(seeds - 1, 1 - level / 2)) * by_seed, float(special.ndtri(1 - level / 2)) * by_prompt)

    tiny = 1e-9
    p_value = 1.0 if mean == 0 else tiny if half(tiny) < abs(mean) else root(lambda p: half(p) - abs(mean), tiny, 1)
    width = half(1 - confidence)
    ends = max(-100.0, 100 * (mean - width)), min(100.0, 100 * (mean + width))
    return Tested(Estimate(100 * mean, *ends, prompts, 0, f"{seeds} seeds, t and normal", "points"), p_value)


def no_worse(difference: Estimate, margin: float) -> bool | None:
    """Non-inferiority: whether a difference, of a score that should be high, lies above -`margin` points with its whole 95 % interval.

    False: its whole interval lies below; None: the interval holds -margin, so it is neither shown nor refuted. One-sided level 2.5 %.
    """
    if difference.low > -margin:
        return True
    return False if difference.high < -margin else None


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: controls the chance of any false finding among them."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def _tango(gained: int, lost: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of (gained - lost) / n for paired shares, -1 to 1."""
    z = z_of(confidence)

    def distance(delta: float) -> float:
        a, b = 2 * n, -gained - lost + (2 * n - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        lost_share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
        variance = n * (2 * lost_share + delta * (1 - delta))
        gap = gained - lost - n * delta
        return gap / math.sqrt(variance) if variance > 1e-12 else math.copysign(math.inf, gap) if gap else 0.0

    value, edge = (gained - lost) / n, 1 - 1e-12
    low = -1.0 if lost == n else root(lambda d: _finite(distance(d)) - z, -edge, value)
    high = 1.0 if gained == n else root(lambda d: _finite(distance(d)) + z, value, edge)
    return low, high


def _finite(value: float) -> float:
    return max(-1e9, min(1e9, value))
