"""How many of the flagged rows are harmful, from rows drawn at random above the line and read, at every moment of the reading."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reft_studio.audit.bounds import UNIFORM, anytime_bound, anytime_floor
from reft_studio.audit.draw import Draw, ThresholdSide, drawn_rows
from reft_studio.audit.held import RELABEL, REMOVE, UNSURE, Decided
from reft_studio.scoring.scores import ScoreSet
from reft_studio.stats import Estimate

SENSITIVITY = 0.2
"""Share of the allowed error for the readers' sensitivity, where checks measure it; below the line too."""


@dataclass(frozen=True)
class Precision:
    """How many of the rows above the threshold are harmful, in the eyes of the people who read those drawn; `share` is 0 to 100.

    Rows marked `unsure` are neither harmful nor harmless: the lower end takes them for harmless, the upper end for harmful.
    """

    population: int
    sampled: int
    harmful_found: int
    share: Estimate | None
    pending: int
    sentence: str
    unsure: int = 0


def precision(
    score: ScoreSet, threshold: float, draws: Sequence[Draw], decided: Decided, *, sensitivity: float = 1.0, measured: bool = False
) -> Precision:
    """How many of the flagged rows are harmful, from those drawn above the line and read in order.

    `sensitivity` is the least share of harmful rows that readers find; `measured`: by checks, which cost a part of the error. Each end
    holds whenever one stops, with half of what is left of it.
    """
    line = ThresholdSide.at(score, threshold, "above")
    population, rows = line.rows(score), drawn_rows(draws, line)
    codes = decided.code_of(rows)
    sampled = int(np.argmin(codes > 0)) if (codes == 0).any() else len(codes)
    harmful, unsure = int(np.isin(codes[:sampled], (REMOVE, RELABEL)).sum()), int((codes[:sampled] == UNSURE).sum())
    return precision_statement(
        population, sampled, harmful, unsure, pending=int((codes == 0).sum()), sensitivity=sensitivity, measured=measured
    )


def precision_statement(
    population: int, sampled: int, harmful: int, unsure: int = 0, *, pending: int = 0, sensitivity: float = 1.0, measured: bool = False
) -> Precision:
    """The same from counts alone."""
    if not population:
        return Precision(0, 0, 0, None, 0, "No row lies above the threshold.")
    if not sampled:
        return Precision(population, 0, 0, None, pending, f"None of the {population:,} flagged rows was drawn at random and read yet.")
    end = 1 - 0.05 * (1 - SENSITIVITY if measured else 1) / 2
    low = 100 * anytime_floor(population, sampled, harmful, confidence=end)
    high = 100 * anytime_bound(population, sampled, harmful + unsure, confidence=end, sensitivity=sensitivity, prior=UNIFORM)
    how = "all read" if low == high else "confidence sequence"
    share = Estimate(100 * harmful / sampled, low, high, sampled, 0, how)
    said = f"{share.value:.0f} % of the {population:,} flagged rows are harmful"
    doubt = f", {unsure:,} unsure" if unsure else ""
    if sampled >= population and low == high:
        return Precision(population, sampled, harmful, share, pending, f"{said}: all were read.", unsure)
    read = f"{sampled:,} drawn at random and read, {harmful:,} of them harmful{doubt}"
    sentence = f"About {said} ({math.floor(low)} to {math.ceil(high)} %, 95% confidence, whenever you stop; {read})."
    return Precision(population, sampled, harmful, share, pending, sentence, unsure)
