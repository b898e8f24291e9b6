"""How much harm may be left below the threshold: an exact bound from rows drawn at random and read (an elusion test)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from reft_studio.audit.decision import Decision
from reft_studio.audit.queue import among, arrays, sample_order
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import flagged
from reft_studio.stats import upper_bound

HARMFUL_ACTIONS = ("remove", "relabel", "unsure")
"""What counts as harmful in the sample; `unsure` does, so that doubt never lowers the bound."""
MOST_MORE = 100_000
"""Beyond this many rows to read, "read more" is no advice."""


@dataclass(frozen=True)
class Assurance:
    """A statement about the rows below the threshold. Shares are 0 to 1; `review_more` is None where no number of rows would do."""

    population: int
    sampled: int
    harmful_found: int
    upper_bound: float
    confidence: float
    target: float
    review_more: int | None
    sentence: str


def residual_risk(
    scores: ArrayLike,
    threshold: float,
    decisions: Mapping[int, Decision],
    *,
    seed: int,
    confidence: float = 0.95,
    target: float = 0.01,
    row_ids: ArrayLike | None = None,
) -> Assurance:
    """Bound the share of harmful rows below the threshold from the random rows that were read.

    The sample is the longest fully read beginning of the random order that `review_order` with the same seed draws from; a row that was
    skipped ends it, so that skipping hard rows cannot lower the bound. The bound is Clopper-Pearson's, exact for a sample whose
    size was fixed before, and a little high for one without replacement; when every row was read it is the plain share.
    """
    values, ids = arrays(scores, row_ids)
    below = ~flagged(values, threshold) & ~np.isnan(values)
    read = below & among(ids, decisions)
    order = sample_order(seed=seed, count=int(read.sum()) + 1, eligible=below)
    sampled = harmful = 0
    for row_id in ids[order].tolist():
        decision = decisions.get(row_id)
        if decision is None:
            break
        sampled, harmful = sampled + 1, harmful + (decision.action in HARMFUL_ACTIONS)
    return statement(int(below.sum()), sampled, harmful, confidence=confidence, target=target)


def statement(population: int, sampled: int, harmful: int, *, confidence: float = 0.95, target: float = 0.01) -> Assurance:
    """The bound and its sentence from counts alone: rows below the threshold, rows read at random, harmful ones among them."""
    if not 0 < target < 1:
        raise SpecError(f"target is {target}, but it is a share of the rows: give more than 0 and less than 1.")
    bound = bound_share(population, sampled, harmful, confidence=confidence)
    more = further_reads(population, sampled, harmful, confidence=confidence, target=target)
    sentence = _sentence(population, sampled, harmful, bound, confidence, target, more)
    return Assurance(population, sampled, harmful, bound, confidence, target, more, sentence)


def bound_share(population: int, sampled: int, harmful: int, *, confidence: float) -> float:
    """Upper bound, 0 to 1, on the share of harmful rows: exact share when all were read, 1 when none was."""
    if population == 0 or sampled >= population:
        return harmful / population if population else 0.0
    return 1.0 if sampled == 0 else upper_bound(harmful, sampled, confidence=confidence)


def further_reads(population: int, sampled: int, harmful: int, *, confidence: float, target: float) -> int | None:
    """How many more random rows, all harmless, bring the bound to `target`; None if no number up to all of them does."""
    most = min(population - sampled, MOST_MORE)
    if bound_share(population, sampled + most, harmful, confidence=confidence) > target:
        return None
    low, high = 0, most  # the bound falls as harmless rows are added, so bisection finds the first number that is enough
    while low < high:
        middle = (low + high) // 2
        enough = bound_share(population, sampled + middle, harmful, confidence=confidence) <= target
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def _sentence(population: int, sampled: int, harmful: int, bound: float, confidence: float, target: float, more: int | None) -> str:
    if population == 0:
        return "No row lies below the threshold, so none is left to doubt."
    if sampled == 0:
        need = "" if more is None else f" Read {more:,} of them without a harmful one to claim at most {_percent(target)}."
        return f"None of the {population:,} rows below the threshold was read at random yet: nothing can be said about them.{need}"
    read = f"{sampled:,} drawn at random and read, {harmful:,} of them harmful"
    if sampled >= population:
        return f"{_percent(bound)} of the {population:,} rows below the threshold are harmful: all were read, {harmful:,} of them harmful."
    claim = f"At most {_percent(bound)} of the {population:,} rows below the threshold are harmful ({confidence:.0%} confidence; {read})."
    if more == 0:
        return claim
    if more is None:
        return f"{claim} Too many were harmful to claim at most {_percent(target)}: lower the threshold."
    return f"{claim} Read {more:,} more without a harmful one to claim at most {_percent(target)}."


def _percent(share: float) -> str:
    """Rounded up in the last digit: a claim never says less than the bound."""
    digits = 1 if share >= 0.001 else 3
    return f"{np.ceil(share * 100 * 10**digits - 1e-9) / 10**digits:.{digits}f} %"
