"""What may be said about rows that nobody read: how many harmful ones are left below the threshold, how many above it are harmless.

Only rows drawn at random and written down before anybody read them count, read in the order of their draw: the first one without a
decision ends the sample, so that skipping a hard row cannot help. A draw belongs to one line. After the line has moved, rows that were
read before count as known, not as drawn: whoever moved it knew them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from reft_studio.audit.bounds import anytime_bound, fixed_bound, smallest_sample
from reft_studio.audit.draw import Draw, Line, drawn_rows
from reft_studio.audit.held import KEEP, RELABEL, REMOVE, UNSURE, Decided
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import ScoreSet
from reft_studio.stats import Estimate, wilson

HARMFUL = (REMOVE, RELABEL, UNSURE)
"""What counts as harmful below the threshold; `unsure` (which stands for rows in dispute too) does, so that doubt never lowers the bound.
Above it, it does not."""
ANY_TIME = 0.2
"""Share of the allowed error for the bound at any time. Whoever reads the first draw as a whole and then goes on may choose between
both bounds: with the full error each, one of them would be wrong in up to 8 of 100 audits (simulated), so in 5 to 6."""
MOST_MORE = 100_000
"""Beyond this many rows to read, "read more" is no advice."""
Method = Literal["nothing read", "all read", "exact binomial", "at any time", "other line"]


@dataclass(frozen=True)
class Assurance:
    """A statement about the rows below the threshold. Shares are 0 to 1; `review_more` is None where no number of rows would do.

    `planned` rows were drawn for this line at first, `pending` drawn ones are not read yet; `known` had been read for another line
    before, `known_harmful` of them harmful. "exact binomial" holds for the first draw read as a whole, "at any time" at every moment
    before, and after more rows were drawn; "other line" carries over what was found for another threshold.
    """

    population: int
    sampled: int
    harmful_found: int
    upper_bound: float
    confidence: float
    target: float
    review_more: int | None
    sentence: str
    method: Method = "exact binomial"
    planned: int = 0
    pending: int = 0
    known: int = 0
    known_harmful: int = 0


@dataclass(frozen=True)
class Precision:
    """How many of the rows above the threshold are harmful, in the eyes of the people who read those drawn; `share` is 0 to 100."""

    population: int
    sampled: int
    harmful_found: int
    share: Estimate | None
    pending: int
    sentence: str


@dataclass(frozen=True)
class Standing:
    """Both statements about one line."""

    below: Assurance
    above: Precision


def standing(
    score: ScoreSet, threshold: float, draws: Sequence[Draw], decided: Decided, *, confidence: float = 0.95, target: float = 0.01
) -> Standing:
    """What the draws and decisions of a dataset say about this line. `draws` are all of the dataset, oldest first.

    Those made from other scores of the same key (another machine, other weights) are draws from other rows: they say nothing.
    """
    draws = [draw for draw in draws if draw.score_key != score.key or draw.population == draw.place.rows(score)]
    below = residual_risk(score, threshold, draws, decided, confidence=confidence, target=target)
    return Standing(below, precision(score, threshold, draws, decided))


def residual_risk(
    score: ScoreSet, threshold: float, draws: Sequence[Draw], decided: Decided, *, confidence: float = 0.95, target: float = 0.01
) -> Assurance:
    """Bound the share of harmful rows below the threshold."""
    line = Line.at(score, threshold, "below")
    here = [draw for draw in draws if draw.place == line]
    if here:
        own = _of_draws(here, decided, line.rows(score), confidence=confidence, target=target)
        if own.sampled >= own.planned:
            return own
        return _better(own, _carried(score, line, draws, decided, confidence=confidence, target=target))
    return _carried(score, line, draws, decided, confidence=confidence, target=target) or statement(
        line.rows(score), 0, 0, confidence=confidence, target=target
    )


def _better(own: Assurance, carried: Assurance | None) -> Assurance:
    """Until as many rows are read for this line as for another one, what that one says; what was found in them plays no part."""
    if carried is None or own.sampled >= carried.sampled:
        return own
    return replace(carried, planned=own.planned, pending=own.pending, review_more=own.review_more)


def _of_draws(here: Sequence[Draw], decided: Decided, population: int, *, confidence: float, target: float) -> Assurance:
    """From the draws for this very line."""
    rows = drawn_rows(here, here[0].place)
    codes = decided.code_of(rows)
    sampled = int(np.argmin(codes > 0)) if (codes == 0).any() else len(codes)
    seen = decided.code_of(here[0].seen)
    return statement(
        population,
        sampled,
        int(np.isin(codes[:sampled], HARMFUL).sum()),
        confidence=confidence,
        target=target,
        planned=len(here[0].rows),
        pending=int((codes == 0).sum()),
        known=len(seen),
        known_harmful=int((seen != KEEP).sum()),
    )


def statement(
    population: int,
    sampled: int,
    harmful: int,
    *,
    confidence: float = 0.95,
    target: float = 0.01,
    planned: int | None = None,
    pending: int = 0,
    known: int = 0,
    known_harmful: int = 0,
) -> Assurance:
    """The bound and its sentence from counts alone: rows below the threshold, rows read at random, harmful ones among them.

    `planned` is the size that was fixed before the first was read (None: `sampled`). `known` rows of the population are not drawn
    from, but `known_harmful` of them count.
    """
    if not 0 < target < 1:
        raise SpecError(f"target is {target}, but it is a share of the rows: give more than 0 and less than 1.")
    size = sampled if planned is None else planned
    case = _Case(population, population - known, known_harmful, size, confidence)
    bound = case.bound(sampled, harmful)
    method: Method = (
        "all read"
        if sampled >= case.unknown
        else "nothing read"
        if sampled == 0
        else "exact binomial"
        if sampled == size
        else "at any time"
    )
    found = Assurance(
        population, sampled, harmful, bound, confidence, target, None, "", method, size, pending, known=known, known_harmful=known_harmful
    )
    found = replace(found, review_more=case.further(sampled, harmful, target))
    return replace(found, sentence=_sentence(found))


@dataclass(frozen=True)
class _Case:
    """What a bound is made for: `unknown` rows were drawn from, the others of the `population` are known."""

    population: int
    unknown: int
    known_harmful: int
    planned: int
    confidence: float

    def bound(self, sampled: int, harmful: int) -> float:
        """Share of the population, 0 to 1, that is harmful at most."""
        if sampled == self.planned:
            share = fixed_bound(self.unknown, sampled, harmful, confidence=self.confidence)
        else:
            share = anytime_bound(self.unknown, sampled, harmful, confidence=1 - ANY_TIME * (1 - self.confidence))
        return min(1.0, (share * self.unknown + self.known_harmful) / self.population) if self.population else 0.0

    def further(self, sampled: int, harmful: int, target: float) -> int | None:
        """How many more random rows, all harmless, bring the bound to `target`; None if no number up to all of them does."""
        most = min(self.unknown - sampled, MOST_MORE)
        if self.bound(sampled, harmful) <= target:
            return 0
        if not sampled and self.planned == 0:  # nothing is drawn yet: a draw of this size would do
            size = smallest_sample(target, confidence=self.confidence)
            return size if size < most else most or None
        rest = self.planned - sampled
        finishing = [rest] if rest > 0 and self.bound(self.planned, harmful) <= target else []
        if self.bound(sampled + most, harmful) <= target:
            low, high = 1, most  # the bound falls as harmless rows are added (but for the step at the planned size), so bisection works
            while low < high:
                middle = (low + high) // 2
                enough = replace(self, planned=-1).bound(sampled + middle, harmful) <= target
                low, high = (low, middle) if enough else (middle + 1, high)
            finishing.append(low)
        return min(finishing, default=None)


def _carried(score: ScoreSet, line: Line, draws: Sequence[Draw], decided: Decided, *, confidence: float, target: float) -> Assurance | None:
    """What the draws for another line say about this one: no more harmful rows than there, and than the rows in between.

    It holds however this line was chosen, since the bound there holds whatever is asked afterwards.
    """
    others = {draw.line for draw in draws if draw.region == "below" and draw.score_key == line.score_key and draw.line != line.line}
    found = []
    for place in others:
        there = Line("below", line.score_key, place)
        made = _of_draws([draw for draw in draws if draw.place == there], decided, there.rows(score), confidence=confidence, target=target)
        if made.sampled:
            found.append((made.sampled, place, made))
    if not found:
        return None
    _, place, made = max(found, key=lambda one: one[:2])
    population = line.rows(score)
    most = made.upper_bound * made.population - _between(score, draws, decided, line.line, place)
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
    inside = (ids[at] == rows) & (bins[at] >= low) & (bins[at] < high)
    codes = decided.code_of(rows[inside])
    return int((np.isin(codes, (REMOVE, RELABEL)) if line < place else codes == KEEP).sum())


def precision(score: ScoreSet, threshold: float, draws: Sequence[Draw], decided: Decided) -> Precision:
    """How many of the flagged rows are harmful, from those drawn above the line and read in order; `unsure` counts as harmless."""
    line = Line.at(score, threshold, "above")
    population, rows = line.rows(score), drawn_rows(draws, line)
    codes = decided.code_of(rows)
    sampled = int(np.argmin(codes > 0)) if (codes == 0).any() else len(codes)
    harmful, waiting = int(np.isin(codes[:sampled], (REMOVE, RELABEL)).sum()), int((codes == 0).sum())
    if not population:
        return Precision(0, 0, 0, None, 0, "No row lies above the threshold.")
    if not sampled:
        return Precision(population, 0, 0, None, waiting, f"None of the {population:,} flagged rows was drawn at random and read yet.")
    share = wilson(harmful, sampled)
    if sampled >= population:
        share = replace(share, low=share.value, high=share.value)
    said = f"{share.value:.0f} % of the {population:,} flagged rows are harmful"
    interval = f"{share.low:.0f} to {share.high:.0f} %, 95% confidence; {sampled:,} drawn at random and read, {harmful:,} of them harmful"
    sentence = f"{said}: all were read." if sampled >= population else f"About {said} ({interval})."
    return Precision(population, sampled, harmful, share, waiting, sentence)


def _sentence(found: Assurance) -> str:
    population, sampled, target = found.population, found.sampled, _percent(found.target)
    if population == 0:
        return "No row lies below the threshold, so none is left to doubt."
    bound, more = _percent(found.upper_bound), found.review_more
    known = f" {found.known:,} rows read before the line was moved are counted as they are." if found.known else ""
    if found.method == "all read":
        harmful = found.harmful_found + found.known_harmful
        return f"{bound} of the {population:,} rows below the threshold are harmful: all were read, {harmful:,} of them harmful."
    if sampled == 0:
        need = "" if more is None else f" Read {more:,} of them without a harmful one to claim at most {target}."
        return f"None of the {population:,} rows below the threshold was read at random yet: nothing can be said about them.{need}{known}"
    of = f"{sampled:,} of {found.planned:,} drawn" if sampled < found.planned else f"{sampled:,} drawn"
    stop = ", whenever you stop" if found.method == "at any time" else ""
    read = f"{found.confidence:.0%} confidence{stop}; {of} at random and read, {found.harmful_found:,} of them harmful"
    claim = f"At most {bound} of the {population:,} rows below the threshold are harmful ({read}).{known}"
    if more == 0:
        return claim
    if more is None:
        return f"{claim} Too many were harmful to claim at most {target}: lower the threshold."
    return f"{claim} Read {more:,} more without a harmful one to claim at most {target}."


def _carried_sentence(found: Assurance, other: float) -> str:
    if not found.population:
        return "No row lies below the threshold, so none is left to doubt."
    return (
        f"At most {_percent(found.upper_bound)} of the {found.population:,} rows below the threshold are harmful ({found.confidence:.0%} "
        f"confidence), carried over from the {found.sampled:,} rows drawn and read for the line at {other:+.3f}. The line has moved "
        "since: draw and read rows for this one to say more."
    )


def _percent(share: float) -> str:
    """Rounded up in the last digit: a claim never says less than the bound."""
    digits = 1 if share >= 0.001 else 3
    return f"{np.ceil(share * 100 * 10**digits - 1e-9) / 10**digits:.{digits}f} %"
