"""Audits by readers who overlook rows and stop when it looks good: how often what is claimed is wrong.

`python tests/audit/test_simulated_audits.py` makes 1,000 of each kind and prints the table of docs/results/assurance.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import numpy as np
import pytest

from reft_studio.audit.bounds import least_sensitivity
from reft_studio.audit.claim import Checks, bound_of, first_draw
from reft_studio.audit.precision import precision_statement

BELOW, ABOVE, CHECKS = 8000, 400, 30
PLANNED = first_draw(checks=CHECKS)
MOST = 700
"""Rows that a reader draws in all: the planned draw, then more."""
READERS = (1.0, 0.9, 0.7)
HARMFUL = (0.002, 0.008, 0.012, 0.03, 0.1)
PRECISION = (0.5, 0.9, 0.98)
EVERY = 10
"""Rows read between two looks at the claim."""


@dataclass
class Tally:
    """Audits of one kind: how many were wrong at the moment that looks best, and what was claimed of the whole planned draw."""

    audits: int = 0
    wrong: int = 0
    wrong_if_perfect: int = 0
    planned: list[float] = field(default_factory=list)


def below(rng: np.random.Generator, sensitivity: float, share: float) -> tuple[bool, bool, float]:
    """One audit of the rows below: wrong at the best moment, wrong if readers were taken for perfect, the bound of the planned draw."""
    number = round(share * BELOW)
    found = (rng.permutation(BELOW)[:MOST] < number) & (rng.random(MOST) < sensitivity)
    per_row = CHECKS / PLANNED
    drawn = CHECKS + int(per_row * (MOST - PLANNED))
    places = np.concatenate([np.sort(rng.choice(PLANNED, CHECKS)), PLANNED + np.sort(rng.choice(MOST - PLANNED, drawn - CHECKS))])
    seen = rng.random(drawn) < sensitivity
    wrong = perfect = False
    planned, truth = 1.0, number / BELOW - 1e-12
    for at in [*range(EVERY, PLANNED, EVERY), PLANNED, *range(PLANNED + EVERY, MOST + 1, EVERY)]:
        harmful, read = int(found[:at].sum()), int((places < at).sum())
        checks = Checks(read, int(seen[:read].sum()), CHECKS, drawn)
        if at == PLANNED:
            planned = bound_of(BELOW, at, harmful, planned=PLANNED, checks=checks)
        least = least_sensitivity(read, checks.found, confidence=0.99)
        if may_be_wrong(at, harmful, least, truth):
            wrong |= bound_of(BELOW, at, harmful, planned=PLANNED, checks=checks) < truth
        if may_be_wrong(at, harmful, 1.0, truth):
            perfect |= bound_of(BELOW, at, harmful, planned=PLANNED) < truth
    return wrong, perfect, planned


def may_be_wrong(read: int, harmful: int, least: float, truth: float) -> bool:
    """Whether the bound can be below the truth at all: it is above the share found over s, and above 3 rows where none was found."""
    return max(harmful, 3) < truth * read * least


def above(rng: np.random.Generator, sensitivity: float, share: float) -> tuple[bool, bool, float]:
    """The same of the rows above, with the checks of the rows below: wrong at some moment, and without them; the width at the end."""
    number = round(share * ABOVE)
    found = (rng.permutation(ABOVE) < number) & (rng.random(ABOVE) < sensitivity)
    seen = rng.random(CHECKS) < sensitivity
    wrong = perfect = False
    width, truth = 0.0, 100 * number / ABOVE
    for at in range(EVERY, ABOVE + 1, EVERY):
        harmful, read = int(found[:at].sum()), CHECKS * at // ABOVE
        floor = least_sensitivity(read, int(seen[:read].sum()), confidence=0.99)
        share_of = precision_statement(ABOVE, at, harmful, sensitivity=floor, measured=True).share
        taken = precision_statement(ABOVE, at, harmful).share
        assert share_of is not None and taken is not None
        wrong |= not share_of.low - 1e-9 <= truth <= share_of.high + 1e-9
        perfect |= not taken.low - 1e-9 <= truth <= taken.high + 1e-9
        width = share_of.width if at == 100 else width
    return wrong, perfect, width


def tally(audit: object, sensitivity: float, share: float, audits: int) -> Tally:
    """`audits` of one kind, always the same ones."""
    assert callable(audit)
    rng = np.random.default_rng([7, round(1000 * sensitivity), round(1000 * share)])
    made = Tally(audits)
    for _ in range(audits):
        wrong, perfect, said = audit(rng, sensitivity, share)
        made.wrong += wrong
        made.wrong_if_perfect += perfect
        made.planned.append(said)
    return made


@pytest.mark.parametrize("sensitivity", READERS)
@pytest.mark.parametrize("audit", [below, above])
def test_a_claim_is_wrong_in_at_most_5_of_100_audits_whoever_reads_and_whenever_they_stop(audit: object, sensitivity: float) -> None:
    shares = (0.008, 0.03) if audit is below else (0.9,)
    for share in shares:
        found = tally(audit, sensitivity, share, 60)
        assert found.wrong <= 7  # with 5 % more than that happens once in 70


def test_readers_who_overlook_three_rows_in_ten_would_make_a_claim_that_takes_them_for_perfect_wrong() -> None:
    found = tally(below, 0.7, 0.1, 60)
    assert found.wrong_if_perfect > 20 and found.wrong <= 7


def main(audits: int) -> None:
    """Print the tables."""
    print(f"Below the line: {BELOW:,} rows, {PLANNED} drawn with {CHECKS} checks, up to {MOST} read; {audits:,} audits each.\n")
    print("| reader finds | harmful below | wrong | wrong if readers were taken for perfect | bound after the planned draw (median) |")
    print("|---|---|---|---|---|")
    for sensitivity in READERS:
        for share in HARMFUL:
            one = tally(below, sensitivity, share, audits)
            wrong, perfect = (f"{100 * number / audits:.1f} %" for number in (one.wrong, one.wrong_if_perfect))
            print(f"| {sensitivity:.0%} | {100 * share:.1f} % | {wrong} | {perfect} | {100 * float(np.median(one.planned)):.2f} % |")
    print(f"\nAbove it: {ABOVE} rows, any number of them read.\n")
    print(
        "| reader finds | flagged rows that are harmful | wrong | wrong if readers were taken for perfect | width after 100 rows (median) |"
    )
    print("|---|---|---|---|---|")
    for sensitivity in READERS:
        for share in PRECISION:
            one = tally(above, sensitivity, share, audits)
            wrong, perfect = (f"{100 * number / audits:.1f} %" for number in (one.wrong, one.wrong_if_perfect))
            print(f"| {sensitivity:.0%} | {share:.0%} | {wrong} | {perfect} | {float(np.median(one.planned)):.0f} points |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
