"""Every interval, test and curve of the app. Shares are in percent (0 to 100); each number carries n and how it was made."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from reft_studio.errors import EvaluationError

RESAMPLES = 5000
"""Draws of a bootstrap: the ends of a 95 % interval move by about 2 % of its length from one seed to another."""
CURVE_POINTS = 400
"""Most points kept of a curve; more cannot be told apart on a screen."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval. `n` counts what it rests on, `missing` what could not be counted."""

    value: float
    low: float
    high: float
    n: int
    missing: int
    method: str
    unit: str = "%"

    def __str__(self) -> str:
        digits = 1 if self.unit else 3
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.value:.{digits}f}{unit} [{self.low:.{digits}f}, {self.high:.{digits}f}], n = {self.n}"

    @property
    def width(self) -> float:
        """Length of the interval, in the unit of the value."""
        return self.high - self.low


@dataclass(frozen=True)
class RocPr:
    """ROC and precision-recall curve of one scorer at the same thresholds, strictest first; shares are 0 to 1.

    A row counts as flagged when its score is at or above the threshold. The first point flags nothing; its precision is 1 by convention.
    """

    fpr: list[float]
    tpr: list[float]
    precision: list[float]
    recall: list[float]
    thresholds: list[float]
    auroc: float
    average_precision: float
    positives: int
    negatives: int
    missing: int


def wilson(successes: int, n: int, *, missing: int = 0, confidence: float = 0.95) -> Estimate:
    """Share of successes in percent with Wilson's score interval. Raises EvaluationError if there is nothing to count."""
    _check_counts(successes, n)
    if n == 0:
        raise EvaluationError(f"A share needs at least one graded row, but 0 were graded and {missing} are missing. Evaluate again.")
    z = z_of(confidence)
    centre = (successes + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(successes * (n - successes) / n + z * z / 4)
    # The exact ends are 0 and 1 here; rounding would leave 1e-17.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Estimate(100 * successes / n, 100 * low, 100 * high, n, missing, "Wilson")


def mean_share(values: Sequence[float], *, missing: int = 0, confidence: float = 0.95) -> Estimate:
    """Mean of values from 0 to 1 (a tie counts one half) in percent, with Wilson's interval as if each were 0 or 1.

    Values between the ends vary less than that, so the interval is never too narrow.
    """
    n, total = len(values), float(sum(values))
    if n == 0 or min(values) < 0 or max(values) > 1:
        raise EvaluationError(f"A mean share needs values from 0 to 1, at least one; {n} were given. Evaluate again.")
    z = z_of(confidence)
    centre = (total + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(max(0.0, total * (n - total)) / n + z * z / 4)
    return Estimate(100 * total / n, 100 * max(0.0, centre - half), 100 * min(1.0, centre + half), n, missing, "Wilson, ties one half")


def chi_squared_tail(value: float, *, freedom: int) -> float:
    """Chance of so large a value of chi-squared, or a larger one."""
    return float(special.gammaincc(freedom / 2, max(0.0, value) / 2))


def kappa(both: int, only_a: int, only_b: int, neither: int) -> float | None:
    """Cohen's kappa of two raters' yes and no: agreement beyond chance, 1 perfect, 0 chance; None where chance alone agrees fully."""
    n = both + only_a + only_b + neither
    if n == 0:
        return None
    a, b = (both + only_a) / n, (both + only_b) / n
    by_chance = a * b + (1 - a) * (1 - b)
    return None if by_chance == 1 else ((both + neither) / n - by_chance) / (1 - by_chance)


def upper_bound(successes: int, n: int, *, confidence: float = 0.95) -> float:
    """Exact one-sided upper bound (Clopper-Pearson) on a share, 0 to 1: about 3/n when none was found, 1 when none was looked at."""
    _check_counts(successes, n)
    return 1.0 if successes == n else float(special.betaincinv(successes + 1, n - successes, confidence))


def clopper_pearson(successes: int, n: int, *, confidence: float = 0.95) -> Estimate:
    """Share of successes in percent with the exact interval, never too narrow however small n (at least 1) is."""
    low = 0.0 if successes == 0 else 1 - upper_bound(n - successes, n, confidence=(1 + confidence) / 2)
    high = upper_bound(successes, n, confidence=(1 + confidence) / 2)
    return Estimate(100 * successes / n, 100 * low, 100 * high, n, 0, "Clopper-Pearson")


def mean_over_seeds(
    values: Sequence[float], *, confidence: float = 0.95, unit: str = "%", within: tuple[float, float] | None = None
) -> Estimate:
    """Mean over seeds with a t-interval, cut to `within` (give (0, 100) for a share).

    One seed says nothing of the spread: low = high = value, and the method says so.
    """
    if not values:
        raise EvaluationError("A mean over seeds needs at least one seed, but none was given. Train and evaluate a run first.")
    data = np.asarray(values, dtype=float)
    mean, n = float(data.mean()), len(values)
    if n == 1:
        return Estimate(mean, mean, mean, 1, 0, "one seed", unit)
    half = float(special.stdtrit(n - 1, (1 + confidence) / 2) * data.std(ddof=1) / math.sqrt(n))
    low, high = mean - half, mean + half
    if within:
        low, high = max(low, within[0]), min(high, within[1])
    return Estimate(mean, low, high, n, 0, "t over seeds", unit)


def clustered_share(flags: Sequence[bool], clusters: Sequence[Hashable], *, seed: int = 0) -> Estimate:
    """Share of true flags in percent when rows come in clusters (the same prompt many times): bootstrap over clusters.

    With a cluster for each row, or when all flags agree (where a bootstrap has no width), it is Wilson's interval; the
    latter on the number of clusters, which is what was drawn independently.
    """
    values = np.asarray(flags, dtype=float)
    sums, sizes = by_cluster(values, clusters)
    if len(sums) == len(values):
        return wilson(int(values.sum()), len(values))
    if values.min() == values.max():
        edge = wilson(len(sums) if values[0] else 0, len(sums))
        return Estimate(edge.value, edge.low, edge.high, len(values), 0, "Wilson over clusters")
    low, high = bootstrap_ratio(sums, sizes, seed=seed)
    return Estimate(100 * float(values.mean()), 100 * low, 100 * high, len(values), 0, "cluster bootstrap")


def auroc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Chance that a random positive scores above a random negative, ties counting half; 0 to 1. NaN scores are left out."""
    pos, neg, _ = _scored(positive, negative)
    ranks = _ranks(np.concatenate([pos, neg]))
    return float((ranks[: len(pos)].sum() - len(pos) * (len(pos) + 1) / 2) / (len(pos) * len(neg)))


def auroc_estimate(positive: ArrayLike, negative: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """AUROC (0 to 1) with DeLong's interval on the logit scale; Newcombe's (2006, method 5) at 0 and 1, where DeLong has no width."""
    pos, neg, missing = _scored(positive, negative)
    m, n = len(pos), len(neg)
    every = _ranks(np.concatenate([pos, neg]))
    above_neg = (every[:m] - _ranks(pos)) / n  # for each positive, the share of negatives below it
    below_pos = 1 - (every[m:] - _ranks(neg)) / m  # for each negative, the share of positives above it
    value, z = float(above_neg.mean()), z_of(confidence)
    variance = (above_neg.var(ddof=1) / m if m > 1 else 0.0) + (below_pos.var(ddof=1) / n if n > 1 else 0.0)
    if not 0 < value < 1 or variance == 0 or min(m, n) < 2:
        low, high = _newcombe_auroc(value, m, n, z)
        return Estimate(value, low, high, m + n, missing, "Newcombe", "")
    half = z * math.sqrt(variance) / (value * (1 - value))
    centre = float(special.logit(value))
    return Estimate(value, float(special.expit(centre - half)), float(special.expit(centre + half)), m + n, missing, "DeLong", "")


def curves(scores: ArrayLike, labels: ArrayLike) -> RocPr:
    """ROC and precision-recall curves; `labels` are true for harmful rows. NaN scores are left out and counted."""
    values, truth = np.asarray(scores, dtype=float).ravel(), np.asarray(labels).astype(bool).ravel()
    if values.shape != truth.shape:
        raise EvaluationError(f"There are {values.size} scores but {truth.size} labels.")
    known = ~np.isnan(values)
    pos, neg, _ = _scored(values[truth], values[~truth])
    values, truth = values[known], truth[known]
    order = np.argsort(-values, kind="stable")
    values, truth = values[order], truth[order]
    last = np.r_[np.nonzero(np.diff(values))[0], len(values) - 1]  # equal scores cannot be told apart by a threshold
    hits, flagged = np.cumsum(truth)[last], last + 1
    recall, precision, fpr = hits / len(pos), hits / flagged, (flagged - hits) / len(neg)
    average = float(np.sum(np.diff(np.r_[0.0, recall]) * precision))
    keep = _spread(fpr, recall, precision)
    return RocPr(
        fpr=[0.0, *fpr[keep].tolist()],
        tpr=[0.0, *recall[keep].tolist()],
        precision=[1.0, *precision[keep].tolist()],
        recall=[0.0, *recall[keep].tolist()],
        thresholds=[float(np.nextafter(values[0], np.inf)), *values[last][keep].tolist()],
        auroc=auroc(pos, neg),
        average_precision=average,
        positives=len(pos),
        negatives=len(neg),
        missing=int((~known).sum()),
    )


def _spread(*axes: Floats) -> NDArray[np.int64]:
    """At most CURVE_POINTS - 1 positions, evenly spaced along the drawn line, first and last among them."""
    count = len(axes[0])
    if count < CURVE_POINTS:
        return np.arange(count)
    step = np.sum([np.abs(np.diff(axis, prepend=axis[0])) for axis in axes], axis=0)
    travelled = np.cumsum(step)
    marks = np.linspace(0, travelled[-1], CURVE_POINTS - 2)
    return np.unique(np.r_[0, np.minimum(np.searchsorted(travelled, marks), count - 1), count - 1])


def _scored(positive: ArrayLike, negative: ArrayLike) -> tuple[Floats, Floats, int]:
    pos, neg = np.asarray(positive, dtype=float).ravel(), np.asarray(negative, dtype=float).ravel()
    kept = pos[~np.isnan(pos)], neg[~np.isnan(neg)]
    if not len(kept[0]) or not len(kept[1]):
        raise EvaluationError(
            f"A curve needs scored rows of both kinds, but there are {len(kept[0])} harmful and {len(kept[1])} harmless ones."
        )
    return *kept, len(pos) + len(neg) - len(kept[0]) - len(kept[1])


def by_cluster(values: Floats, clusters: Sequence[Hashable]) -> tuple[Floats, Floats]:
    """Sum and size of each cluster, in order of first appearance."""
    if len(clusters) != len(values) or not len(values):
        raise EvaluationError(f"There are {len(values)} graded rows but {len(clusters)} cluster names.")
    position: dict[Hashable, int] = {}
    index = np.array([position.setdefault(name, len(position)) for name in clusters])
    return np.bincount(index, weights=values).astype(np.float64), np.bincount(index).astype(np.float64)


def bootstrap_ratio(sums: Floats, sizes: Floats, *, seed: int) -> tuple[float, float]:
    """Percentile interval of sum over size when whole clusters are drawn with replacement."""
    rng, share = np.random.default_rng(seed), np.empty(RESAMPLES)
    block = max(1, 2_000_000 // len(sums))  # bounds the memory of the drawn counts to 16 MB
    for start in range(0, RESAMPLES, block):
        stop = min(start + block, RESAMPLES)
        drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=stop - start)
        share[start:stop] = (drawn @ sums) / (drawn @ sizes)
    low, high = np.quantile(share, [0.025, 0.975])
    return float(low), float(high)


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a continuous function changes its sign between `low` and `high`, to 1e-12, by halving.

    scipy.optimize and scipy.stats would do more than is needed here and take a second to import, at every start of the app.
    """
    rising = function(low) < 0
    while high - low > 1e-12:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if (function(middle) < 0) == rising else (low, middle)
    return (low + high) / 2


def _ranks(values: ArrayLike) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse], dtype=np.float64)


def _newcombe_auroc(value: float, m: int, n: int, z: float) -> tuple[float, float]:
    """Interval of an AUROC whose ends are the values at which the observed one lies z standard errors away."""
    half = (m + n) / 2 - 1

    def distance(theta: float) -> float:
        spread = theta * (1 - theta) * (1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (m * n)
        return abs(value - theta) - z * math.sqrt(spread)

    inside = min(max(value, 1e-9), 1 - 1e-9)  # at exactly 0 and 1 the spread vanishes too, which is a root of no meaning
    low = 0.0 if value < 1e-9 else root(distance, 1e-12, inside)
    high = 1.0 if value > 1 - 1e-9 else root(distance, inside, 1 - 1e-12)
    return low, high


def z_of(confidence: float) -> float:
    """The normal quantile of a two-sided interval. Raises EvaluationError for a confidence that is no share."""
    if not 0 < confidence < 1:
        raise EvaluationError(f"confidence is {confidence}, but it is a share: give a number between 0 and 1 (95 % is 0.95).")
    return float(special.ndtri((1 + confidence) / 2))


def _check_counts(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise EvaluationError(f"{successes} of {n} is not a share: the count must be 0 to {n}.")
