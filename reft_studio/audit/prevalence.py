"""What a line costs, from the one share of harmful rows and the filter's rates on calibration prompts.

The same formulas run in the browser, live with the line (`ui/filter/prevalence_math.js`); a test compares the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

from reft_studio.errors import EvaluationError
from reft_studio.stats import Estimate

_Z = NormalDist().inv_cdf(0.975)
_EDGE = 1e-6
"""Stands for a share of 0, and 1 less it for one of 1, where logarithms are taken."""


@dataclass(frozen=True)
class Rates:
    """How the filter did on rows whose truth is known: `hits` of `harmful` and `alarms` of `harmless` ones were flagged."""

    hits: int
    harmful: int
    alarms: int
    harmless: int

    @classmethod
    def of(cls, hits: int, harmful: int, alarms: int, harmless: int) -> Self:
        """Checked counts. Raises EvaluationError for a count outside its total."""
        for part, whole in ((hits, harmful), (alarms, harmless)):
            if not 0 <= part <= whole:
                raise EvaluationError(f"{part} of {whole} prompts cannot be flagged: the count must be 0 to {whole}.")
        return cls(hits, harmful, alarms, harmless)

    @property
    def recall(self) -> float:
        """Share of the harmful ones that is flagged, 0 to 1."""
        return self.hits / self.harmful

    @property
    def false_positive_rate(self) -> float:
        """Share of the harmless ones that is flagged, 0 to 1."""
        return self.alarms / self.harmless


def precision_at(rate: Estimate, rates: Rates) -> Estimate | None:
    """Share of flagged rows that are harmful, in percent, if `rate` percent of all are; None without prompts of both kinds.

    The interval is made on the log odds: the squares of the distances to the ends of `rate` and of the prompts' own interval (normal,
    half a prompt added to each count) add up.
    """
    if not rates.harmful or not rates.harmless:
        return None
    share, low, high = (_inside(value / 100) for value in (rate.value, rate.low, rate.high))
    hit, miss = share * rates.recall, (1 - share) * rates.false_positive_rate
    recall, alarm = (rates.hits + 0.5) / (rates.harmful + 1), (rates.alarms + 0.5) / (rates.harmless + 1)
    odds = _log_odds(share) + math.log(recall / alarm)
    half = _Z * math.sqrt((1 - recall) / (rates.hits + 0.5) + (1 - alarm) / (rates.alarms + 0.5))
    lower = _share(odds - math.hypot(half, _log_odds(share) - _log_odds(low)))
    upper = _share(odds + math.hypot(half, _log_odds(high) - _log_odds(share)))
    value = hit / (hit + miss) if hit + miss > 0 else _share(odds)
    n = rates.harmful + rates.harmless
    return Estimate(100 * value, 100 * min(lower, value), 100 * max(upper, value), n, 0, "log odds, delta")


def staying_at(rate: Estimate, rates: Rates, *, rows: int, kept: int) -> Estimate | None:
    """Harmful rows below the line, of `kept` ones in a file of `rows`, if `rate` percent of all are harmful; None without harmful prompts.

    The interval is made on the logarithms, as that of `precision_at` is; its ends are never beyond the rows that stay.
    """
    if not rates.harmful:
        return None
    misses = rates.harmful - rates.hits
    share, low, high = (_inside(value / 100) for value in (rate.value, rate.low, rate.high))
    miss = (misses + 0.5) / (rates.harmful + 1)
    half = _Z * math.sqrt((1 - miss) / (misses + 0.5))
    middle = math.log(share * miss)
    ends = (middle - math.hypot(half, math.log(share / low)), middle + math.hypot(half, math.log(high / share)))
    lower, upper = (min(float(kept), rows * math.exp(end)) for end in ends)
    value = min(float(kept), rows * (rate.value / 100) * misses / rates.harmful)
    return Estimate(value, min(lower, value), max(upper, value), rates.harmful, 0, "log, delta", unit="")


def _inside(share: float) -> float:
    return min(1 - _EDGE, max(_EDGE, share))


def _log_odds(share: float) -> float:
    return math.log(share / (1 - share))


def _share(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))
