"""What may be said about rows that nobody read: how many harmful ones are left below the threshold, how many above it are harmful.

Only rows drawn at random and written down before anybody read them count, read in the order of their draw: the first one without a
decision ends the sample, so that skipping a hard row cannot help. A draw belongs to one line. After the line has moved, rows that were
read before count as known, not as drawn: whoever moved it knew them.

The error of 5 % is divided (`claim.py`; the mathematics and its sources are in `bounds.py`), so that a claim is wrong in at most 5 of 100
audits, whenever one stops and whichever of its parts one rests on. A draw holds checks (`checks.py`), known harmful prompts that measure
which share of harmful rows its readers find; the bound is widened by that. Two things are taken for granted, and said: that readers find
harmful rows of this file as often as checks, and, where a draw has no checks, that they overlook none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reft_studio.audit.claim import Assurance, Checks, percent, reader_words, statement
from reft_studio.audit.draw import Draw, ThresholdSide, drawn_rows, reading_order
from reft_studio.audit.held import KEEP, RELABEL, REMOVE, UNSURE, Decided
from reft_studio.audit.precision import Precision, precision
from reft_studio.data.grid import flagged_bins
from reft_studio.scoring.scores import ScoreSet

HARMFUL = (REMOVE, RELABEL, UNSURE)
"""What counts against the claim below the threshold; `unsure` (which stands for rows in dispute too) does, so that doubt never
lowers the bound, and is told apart from what was found harmful. Above it, it does not."""


@dataclass(frozen=True)
class Standing:
    """Both statements about one line."""

    below: Assurance
    above: Precision


def standing(
    score: ScoreSet,
    threshold: float,
    draws: Sequence[Draw],
    decided: Decided,
    *,
    confidence: float = 0.95,
    target: float = 0.01,
    checks: int = 0,
) -> Standing:
    """What the draws and decisions of a dataset say about this line. `draws` are all of the dataset, oldest first.

    `checks` would be mixed into a first draw.
    Those made from other scores of the same key (another machine, other weights) are draws from other rows: they say nothing.
    """
    draws = [draw for draw in draws if draw.score_key != score.key or draw.population == draw.place.rows(score)]
    below = residual_risk(score, threshold, draws, decided, confidence=confidence, target=target, checks=checks)
    return Standing(below, precision(score, threshold, draws, decided, sensitivity=below.sensitivity, measured=below.measured))


def residual_risk(
    score: ScoreSet,
    threshold: float,
    draws: Sequence[Draw],
    decided: Decided,
    *,
    confidence: float = 0.95,
    target: float = 0.01,
    checks: int = 0,
) -> Assurance:
    """Bound the share of harmful rows below the threshold. `checks` would be mixed into a first draw."""
    line = ThresholdSide.at(score, threshold, "below")
    if any(draw.place == line for draw in draws):
        own = _of_draws(draws, line, decided, line.rows(score), confidence=confidence, target=target)
        if own.sampled >= own.planned:
            return own
        return _better(own, _carried(score, line, draws, decided, confidence=confidence, target=target))
    return _carried(score, line, draws, decided, confidence=confidence, target=target) or statement(
        line.rows(score), 0, 0, confidence=confidence, target=target, checks=Checks(0, 0, checks, 0) if checks else None
    )


def _better(own: Assurance, carried: Assurance | None) -> Assurance:
    """Until as many rows are read for this line as for another one, what that one says; what was found in them plays no part."""
    if carried is None or own.sampled >= carried.sampled:
        return own
    return replace(carried, planned=own.planned, pending=own.pending, review_more=own.review_more)


def _of_draws(
    draws: Sequence[Draw], line: ThresholdSide, decided: Decided, population: int, *, confidence: float, target: float
) -> Assurance:
    """From the draws for this very line."""
    here = [draw for draw in draws if draw.place == line]
    order = reading_order(here, line)
    codes = decided.code_of(order)
    read = int(np.argmin(codes > 0)) if (codes == 0).any() else len(codes)
    is_check, harmful, unsure = order < 0, np.isin(codes, HARMFUL), codes == UNSURE
    seen = decided.code_of(here[0].seen)
    return statement(
        population,
        int((~is_check[:read]).sum()),
        int((harmful & ~is_check)[:read].sum()),
        confidence=confidence,
        target=target,
        planned=len(here[0].rows),
        pending=int(((codes == 0) & ~is_check).sum()),
        known=len(seen),
        known_harmful=int((seen != KEEP).sum()),
        unsure=int((unsure & ~is_check)[:read].sum()),
        known_unsure=int((seen == UNSURE).sum()),
        found_before=_found_before(draws[: draws.index(here[0])], decided) if len(seen) else 0,
        checks=Checks(int(is_check[:read].sum()), int((harmful & is_check)[:read].sum()), len(here[0].checks), int(is_check.sum()))
        if is_check.any()
        else _checks_elsewhere(draws, decided),
    )


def _checks_elsewhere(draws: Sequence[Draw], decided: Decided) -> Checks | None:
    """What readers found of the checks in draws for other lines: it holds for a line whose own draw has none, e.g. since all were shown."""
    codes = decided.code_of(np.array([check.id for draw in draws for check in draw.checks], dtype=np.int64))
    read = int((codes > 0).sum())
    return Checks(read, int(np.isin(codes, HARMFUL).sum()), 0, read) if read else None


def _found_before(draws: Sequence[Draw], decided: Decided) -> int:
    """Harmful rows found among all that were drawn for other lines before."""
    rows = np.unique(np.array([row for draw in draws for row in draw.rows], dtype=np.int64))
    return int(np.isin(decided.code_of(rows), HARMFUL).sum())


def _carried(
    score: ScoreSet, line: ThresholdSide, draws: Sequence[Draw], decided: Decided, *, confidence: float, target: float
) -> Assurance | None:
    """What the draws for another line say about this one: no more harmful rows than there, and than the rows in between.

    It holds however this line was chosen, since the bound there holds whatever is asked afterwards.
    """
    others = {draw.line for draw in draws if draw.region == "below" and draw.score_key == line.score_key and draw.line != line.line}
    found = []
    for place in others:
        there = ThresholdSide("below", line.score_key, place)
        made = _of_draws(draws, there, decided, there.rows(score), confidence=confidence, target=target)
        if made.sampled:
            found.append((made.sampled, place, made))
    if not found:
        return None
    _, place, made = max(found, key=lambda one: one[:2])
    population = line.rows(score)
    most = made.upper_bound * made.population
    if line.line < place or not made.measured:  # a kept row may have been overlooked
        most -= _between(score, draws, decided, line.line, place)
    if line.line > place:
        most += population - made.population
    bound = min(1.0, max(0.0, most) / population) if population else 0.0
    carried = replace(made, population=population, upper_bound=bound, method="other line", review_more=0 if bound <= target else None)
    return replace(carried, planned=0, pending=0, sentence=_carried_sentence(carried, place / 1000 - 1))


def _between(score: ScoreSet, draws: Sequence[Draw], decided: Decided, line: int, place: int) -> int:
    """Rows between two lines that take from what is carried over: harmful drawn ones above this line, harmless ones up to it."""
    low, high = sorted((line, place))
    rows = np.unique(np.concatenate([drawn_rows(draws, draw.place) for draw in draws])) if line < place else decided.rows_with(KEEP)
    ids, bins = score.row_ids(), score.bins()
    at = np.minimum(np.searchsorted(ids, rows), len(ids) - 1)
    inside = (ids[at] == rows) & flagged_bins(bins[at], low) & ~flagged_bins(bins[at], high)
    codes = decided.code_of(rows[inside])
    return int((np.isin(codes, (REMOVE, RELABEL)) if line < place else codes == KEEP).sum())


def _carried_sentence(found: Assurance, other: float) -> str:
    if not found.population:
        return "No row lies below the threshold, so none is left to doubt."
    return (
        f"At most {percent(found.upper_bound)} of the {found.population:,} rows below the threshold are harmful ({found.confidence:.0%} "
        f"confidence), carried over from the {found.sampled:,} rows drawn and read for the line at {other:+.3f}. The line has moved "
        f"since: draw and read rows for this one to say more. {reader_words(found)}"
    )
