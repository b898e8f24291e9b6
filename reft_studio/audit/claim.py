"""What may be said of the rows below a line from counts alone: the bound, its method, and the sentence that says both.

How the allowed error is divided stands here; the bounds and their sources are in `bounds.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from reft_studio.audit.bounds import anytime_bound, fixed_bound, least_sensitivity, most_overlooked, smallest_sample
from reft_studio.audit.precision import SENSITIVITY
from reft_studio.errors import SpecError

ANY_TIME = 0.1
"""Share of what is left for the bound at any time; the bound of the planned draw gets the rest. Both together use it up: whoever reads
the first draw as a whole and then goes on may choose between them."""
KNOWN = 0.1
"""Share of what is left for rows that were read for another line before, where readers may have overlooked some of them."""
MOST_MORE = 100_000
"""Beyond this many rows to read, "read more" is no advice."""
Method = Literal["nothing read", "all read", "exact binomial", "at any time", "other line"]


@dataclass(frozen=True)
class Assurance:
    """A statement about the rows below the threshold. Shares are 0 to 1; `review_more` is None where no number of rows would do.

    `planned` rows were drawn for this line at first, `pending` drawn ones are not read yet; `known` had been read for another line
    before, `known_harmful` of them harmful. Of both counts of harmful rows `unsure` ones are counted against the claim only, and are not
    called harmful. "exact binomial" holds for the first draw read as a whole, "at any time" at every moment before, and after more rows
    were drawn; "other line" carries over what was found for another threshold. `checks` were read, of which readers found
    `checks_found`; `sensitivity` is the least share of harmful rows that they find, and 1 is assumed where a draw has none (`measured` is
    False).
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
    checks: int = 0
    checks_found: int = 0
    sensitivity: float = 1.0
    measured: bool = False
    unsure: int = 0

    def found_words(self, of_them: str = "") -> str:
        """`3 of them harmful`, and how many rows nobody was sure of; where all were read, those known before among them."""
        found = self.harmful_found + (self.known_harmful if self.method == "all read" else 0)
        doubt = f", {self.unsure:,} unsure (they count against the claim)" if self.unsure else ""
        return f"{found - self.unsure:,}{of_them} harmful{doubt}"


@dataclass(frozen=True)
class Checks:
    """Checks of a line that were `read`, of which readers `found` some; `planned` are those of its first draw, `drawn` all of them."""

    read: int
    found: int
    planned: int
    drawn: int


def first_draw(*, confidence: float = 0.95, target: float = 0.01, checks: int = 0) -> int:
    """Rows of a draw that is large enough to claim `target`, if none of them is harmful and every one of `checks` is found."""
    return _Errors.of(1 - confidence, measured=checks > 0, known=False).first_draw(target, checks)


def bound_of(population: int, sampled: int, harmful: int, *, planned: int, checks: Checks | None = None, confidence: float = 0.95) -> float:
    """The bound of `statement` alone: share of the population, 0 to 1, where no row was known before."""
    errors = _Errors.of(1 - confidence, measured=checks is not None, known=False)
    return _Case(population, population, 0, planned, errors, checks, 0).bound(sampled, harmful)


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
    found_before: int = 0,
    checks: Checks | None = None,
    unsure: int = 0,
    known_unsure: int = 0,
) -> Assurance:
    """The bound and its sentence from counts alone: rows below the threshold, rows read at random, harmful ones among them.

    `planned` is the size that was fixed before the first was read (None: `sampled`). `known` rows of the population are not drawn
    from, but `known_harmful` of them count, and those that were overlooked among all rows read before, of which `found_before` were
    found. Without `checks` readers are taken to overlook none. Of `harmful` and `known_harmful`, `unsure` and `known_unsure` rows are
    only counted so, since nobody was sure of them.
    """
    if not 0 < target < 1:
        raise SpecError(f"target is {target}, but it is a share of the rows: give more than 0 and less than 1.")
    size = sampled if planned is None else planned
    errors = _Errors.of(1 - confidence, measured=checks is not None, known=known > 0)
    case = _Case(population, population - known, known_harmful, size, errors, checks, found_before)
    bound, sensitivity = case.bound(sampled, harmful), case.sensitivity()
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
        population,
        sampled,
        harmful,
        bound,
        confidence,
        target,
        case.further(sampled, harmful, target),
        "",
        method,
        size,
        pending,
        known=known,
        known_harmful=known_harmful,
        checks=checks.read if checks else 0,
        checks_found=checks.found if checks else 0,
        sensitivity=sensitivity,
        measured=checks is not None,
        unsure=unsure + (known_unsure if method == "all read" else 0),
    )
    return replace(found, sentence=_sentence(found))


@dataclass(frozen=True)
class _Errors:
    """How the allowed error is divided among the parts of a claim; together they are all of it."""

    sensitivity: float
    planned: float
    any_time: float
    known: float

    @classmethod
    def of(cls, error: float, *, measured: bool, known: bool) -> _Errors:
        """Readers who are taken for perfect need no share, nor do rows read before where there are none."""
        sensitivity = SENSITIVITY * error if measured else 0.0
        left = error - sensitivity
        before = KNOWN * left if measured and known else 0.0
        return cls(sensitivity, left - before - ANY_TIME * left, ANY_TIME * left, before)

    def first_draw(self, target: float, checks: int) -> int:
        """Rows that bring the bound to `target` if none of them is harmful and every check is found."""
        found = least_sensitivity(checks, checks, confidence=1 - self.sensitivity) if checks else 1.0
        return smallest_sample(target * found, confidence=1 - self.planned)


@dataclass(frozen=True)
class _Case:
    """What a bound is made for: `unknown` rows were drawn from, the others of the `population` are known."""

    population: int
    unknown: int
    known_harmful: int
    planned: int
    errors: _Errors
    checks: Checks | None
    found_before: int

    def sensitivity(self, more: int = 0) -> float:
        """The least share of harmful rows that readers find, if they find `more` checks."""
        if self.checks is None:
            return 1.0
        return least_sensitivity(self.checks.read + more, self.checks.found + more, confidence=1 - self.errors.sensitivity)

    def bound(self, sampled: int, harmful: int, more: int = 0) -> float:
        """Share of the population, 0 to 1, that is harmful at most, if readers find `more` checks."""
        if not self.population:
            return 0.0
        found = self.sensitivity(more)
        if sampled == self.planned:
            share = fixed_bound(self.unknown, sampled, harmful, confidence=1 - self.errors.planned, sensitivity=found)
        else:
            share = anytime_bound(self.unknown, sampled, harmful, confidence=1 - self.errors.any_time, sensitivity=found)
        known = self.population - self.unknown
        if self.checks is not None and known:
            kept = known - self.known_harmful
            known = self.known_harmful + most_overlooked(self.found_before, among=kept, confidence=1 - self.errors.known, sensitivity=found)
        else:
            known = self.known_harmful
        return min(1.0, (share * self.unknown + known) / self.population)

    def further(self, sampled: int, harmful: int, target: float) -> int | None:
        """How many more random rows, all harmless and with every check found, bring the bound to `target`; None if no number does."""
        most = min(self.unknown - sampled, MOST_MORE)
        if self.bound(sampled, harmful) <= target:
            return 0
        if not sampled and self.planned == 0:  # nothing is drawn yet: a draw of this size would do
            size = self.errors.first_draw(target, self.checks.planned if self.checks else 0)
            return size if size < most else most or None
        rest = self.planned - sampled
        finishing = [rest] if rest > 0 and self.bound(self.planned, harmful, self._checks_in(rest, sampled)) <= target else []
        other = replace(self, planned=-1)  # the bound falls as harmless rows are added but for a step at the planned size
        if other.bound(sampled + most, harmful, self._checks_in(most, sampled)) <= target:
            low, high = 1, most
            while low < high:
                middle = (low + high) // 2
                enough = other.bound(sampled + middle, harmful, self._checks_in(middle, sampled)) <= target
                low, high = (low, middle) if enough else (middle + 1, high)
            finishing.append(low)
        return min(finishing, default=None)

    def _checks_in(self, more: int, sampled: int) -> int:
        """Checks among so many more rows: those that are drawn, spread evenly, then as many for each row as in the first draw."""
        if self.checks is None or not self.planned:
            return 0
        waiting, rest = self.checks.drawn - self.checks.read, max(0, self.planned - sampled)
        if more < rest:
            return waiting * more // rest
        return waiting + self.checks.planned * (more - rest) // self.planned


def _sentence(found: Assurance) -> str:
    population, sampled, target = found.population, found.sampled, percent(found.target)
    if population == 0:
        return "No row lies below the threshold, so none is left to doubt."
    bound, more = percent(found.upper_bound), found.review_more
    known = f" {found.known:,} rows read before the line was moved are counted as they are." if found.known else ""
    clean = "without a harmful one" + (", and every check found," if found.measured else "")
    if found.method == "all read":
        at_most = "At most " if found.measured or found.unsure else ""
        read = f"all were read, {found.found_words(' of them')}. {reader_words(found)}"
        return f"{at_most}{bound} of the {population:,} rows below the threshold are harmful: {read}"
    if sampled == 0:
        need = "" if more is None else f" Read {more:,} of them {clean} to claim at most {target}."
        return f"None of the {population:,} rows below the threshold was read at random yet: nothing can be said about them.{need}{known}"
    of = f"{sampled:,} of {found.planned:,} drawn" if sampled < found.planned else f"{sampled:,} drawn"
    stop = ", whenever you stop" if found.method == "at any time" else ""
    read = f"{found.confidence:.0%} confidence{stop}; {of} at random and read, {found.found_words(' of them')}"
    if found.upper_bound >= 1 and found.method != "other line":
        return f"Nothing can be claimed yet of the {population:,} rows below the threshold ({read}). {reader_words(found)}{known}"
    claim = f"At most {bound} of the {population:,} rows below the threshold are harmful ({read}). {reader_words(found)}{known}"
    if more == 0:
        return claim
    if more is None:
        many = "harmful or overlooked" if found.measured else "harmful"
        return f"{claim} Too many were {many} to claim at most {target}: lower the threshold."
    return f"{claim} Read {more:,} more {clean} to claim at most {target}."


def reader_words(found: Assurance) -> str:
    """What a claim takes for granted of the people who read, or what checks have shown of them."""
    if not found.measured:
        return "It takes for granted that readers overlook no harmful row: no checks were mixed in."
    if not found.checks:
        return "Readers came to no check yet, so it is not known how many harmful rows they overlook."
    return (
        f"Readers found {found.checks_found:,} of {found.checks:,} known harmful prompts mixed in: the claim takes them to find at least "
        f"{100 * found.sensitivity:.0f} % of harmful rows."
    )


def percent(share: float) -> str:
    """Rounded up in the last digit: a claim never says less than the bound."""
    digits = 1 if share >= 0.001 else 3
    return f"{np.ceil(share * 100 * 10**digits - 1e-9) / 10**digits:.{digits}f} %"
