"""How many rows of a file are harmful, from how many are flagged and how often the filter errs; and what a flag is worth then.

The same formulas run in the browser, live with the line (`ui/widgets/prevalence_math.js`); a test compares the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

from reft_studio.errors import EvaluationError
from reft_studio.stats import Estimate

LEAST_GAP = 0.05
"""Recall minus false-positive rate must surely exceed this: below, the line hardly tells the kinds apart and the estimate is noise."""
_Z = NormalDist().inv_cdf(0.975)


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

    @property
    def separates(self) -> bool:
        """Whether recall surely (95 %, one side at a time) exceeds the false-positive rate by LEAST_GAP."""
        if not self.harmful or not self.harmless:
            return False
        recall, rate = (self.hits + 1) / (self.harmful + 2), (self.alarms + 1) / (self.harmless + 2)
        spread = recall * (1 - recall) / (self.harmful + 2) + rate * (1 - rate) / (self.harmless + 2)
        return recall - rate - _Z * math.sqrt(spread) > LEAST_GAP


def poison_rate(flagged: int, rows: int, rates: Rates) -> Estimate | None:
    """Share of harmful rows in percent: Rogan and Gladen's estimate with Lang and Reiczigel's interval, both cut to 0 and 100.

    The interval (Preventive Veterinary Medicine 113, 2014) counts the error of the file's flagged share and of both calibration
    rates. None where `no_rate` tells why there is none. Assumes that harmful and harmless rows of the file score as the calibration
    prompts of their kind do.
    """
    if not 0 <= flagged <= rows or rows == 0:
        raise EvaluationError(f"{flagged} of {rows} rows cannot be flagged: the file needs a scored row, and the count must fit.")
    if not rates.separates:
        return None
    low, high = _interval(flagged, rows, rates)
    if high < 0 or low > 1:
        return None
    value = (flagged / rows - rates.false_positive_rate) / (rates.recall - rates.false_positive_rate)
    value, low, high = _within(value), _within(low), _within(high)
    return Estimate(100 * value, 100 * min(low, value), 100 * max(high, value), rows, 0, "Rogan-Gladen, Lang-Reiczigel")


def no_rate(flagged: int, rows: int, rates: Rates) -> str | None:
    """Why `poison_rate` gives none; None if it gives one."""
    if not rates.separates:
        return "At this line the calibration prompts of both kinds are flagged about equally often, so nothing can be estimated from flags."
    low, high = _interval(flagged, rows, rates)
    if high < 0:
        return "Fewer rows are flagged than the false-positive rate alone would give: the calibration does not hold for this file."
    if low > 1:
        return "More rows are flagged than if all of them were harmful: the calibration does not hold for this file."
    return None


def _interval(flagged: int, rows: int, rates: Rates) -> tuple[float, float]:
    """Lang and Reiczigel's interval as a share, not yet cut to 0 and 1."""
    n, harmful, harmless = rows + _Z**2, rates.harmful + 2, rates.harmless + 2
    share = (flagged + _Z**2 / 2) / n
    recall, pass_rate = (rates.hits + 1) / harmful, (rates.harmless - rates.alarms + 1) / harmless
    gap = recall + pass_rate - 1
    middle = (share + pass_rate - 1) / gap
    of_recall, of_pass = recall * (1 - recall) / harmful, pass_rate * (1 - pass_rate) / harmless
    shift = 2 * _Z**2 * (middle * of_recall - (1 - middle) * of_pass)
    half = _Z * math.sqrt(share * (1 - share) / n + middle**2 * of_recall + (1 - middle) ** 2 * of_pass) / gap
    return middle + shift - half, middle + shift + half


def precision_at(prevalence: float, rates: Rates) -> Estimate | None:
    """Share of flagged rows that would be harmful, in percent, if `prevalence` (0 to 1) of the rows were; None without both kinds.

    The interval is normal on the log odds, with half a prompt added to each count, so that it has a width at 0 and 1 too.
    """
    if not 0 < prevalence < 1:
        raise EvaluationError(f"prevalence is {prevalence}, but it is a share: give more than 0 and less than 1.")
    if not rates.harmful or not rates.harmless:
        return None
    hit, miss = prevalence * rates.recall, (1 - prevalence) * rates.false_positive_rate
    recall, rate = (rates.hits + 0.5) / (rates.harmful + 1), (rates.alarms + 0.5) / (rates.harmless + 1)
    odds = math.log(prevalence / (1 - prevalence)) + math.log(recall / rate)
    half = _Z * math.sqrt((1 - recall) / (rates.hits + 0.5) + (1 - rate) / (rates.alarms + 0.5))
    low, high = _share(odds - half), _share(odds + half)
    value = hit / (hit + miss) if hit + miss > 0 else _share(odds)
    n = rates.harmful + rates.harmless
    return Estimate(100 * value, 100 * min(low, value), 100 * max(high, value), n, 0, "log odds, delta")


def _share(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def _within(share: float) -> float:
    return min(1.0, max(0.0, share))
