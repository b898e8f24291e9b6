"""Checks: known harmful prompts that ship with the app, mixed into a random draw to measure which share of harmful rows readers find.

A check stands at a place of the reading order that the seed of the draw gives, under the number and score of a row that was not drawn, so
that it looks like every other row; that it was one is said after it was decided. It is no row of the dataset: it is never counted, frozen
or exported, and has no part in agreement. Its first decision with the text on the screen stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from reft_studio import fingerprint
from reft_studio.audit.held import RELABEL, REMOVE, UNSURE, Decided
from reft_studio.data.origin.answer_pairs import AnswerPair, answer_pairs
from reft_studio.data.splits import group_key
from reft_studio.seeding import derive
from reft_studio.stats import Estimate, clopper_pearson

USUAL, MOST = 30, 100
"""Checks of a first draw unless somebody wants others, and at most. With 30 to 50 the claim "at most 1 %" takes the fewest rows to read:
430 with the checks among them; with 20 it takes 460."""
ROWS_EACH = 3
"""Rows of a draw for each check at least: a small draw has fewer checks."""
FOUND = (REMOVE, RELABEL, UNSURE)
"""What counts as found: what counts as harmful below the threshold."""
_ENDS = (".", "!", "?", "”", '"')
_SENTENCE = re.compile(r"[a-z)”\"'][.!?](?=\s)")
_TASK = "after 30 steps on labels"


@dataclass(frozen=True)
class Check:
    """`id` is negative and unlike every other of the dataset, `place` where it stands among rows and checks of its draw.

    `text` names the shipped prompt (SHA-256, first 16 hex digits), `shown` the row whose number and score it is shown with.
    """

    id: int
    place: int
    text: str
    shown: int


@dataclass(frozen=True)
class CheckReading:
    """One decision on a check: by whom, and whether the prompt was found to be harmful."""

    check: int
    code: int
    by: str

    @property
    def found(self) -> bool:
        return self.code in FOUND


@cache
def texts() -> Mapping[str, AnswerPair]:
    """The shipped harmful prompts with an answer that complies, one of each prompt, by name.

    Answers that were cut off end with their last full sentence.
    """
    pairs = [pair for pair in answer_pairs() if (pair.kind, pair.verdict) == ("harmful", "comply") and not pair.source.endswith(_TASK)]
    found: dict[str, AnswerPair] = {}
    for pair in sorted(pairs, key=lambda one: not one.response.rstrip().endswith(_ENDS)):  # whole answers first
        found.setdefault(group_key(pair.prompt), pair)
    return {fingerprint.of_value(key)[: fingerprint.SHORT]: _whole(pair) for key, pair in sorted(found.items())}


def _whole(pair: AnswerPair) -> AnswerPair:
    text = pair.response.rstrip()
    if text.endswith(_ENDS):
        return pair
    ends = [match.end() for match in _SENTENCE.finditer(text)]
    return replace(pair, response=text[: ends[-1]] if ends else text.rstrip(":,;- ") + ".")


def number_of(rows: int, wanted: int) -> int:
    """Checks of a draw of so many rows."""
    return max(0, min(wanted, MOST, rows // ROWS_EACH))


def places(seed: str, before: int, rows: int, count: int) -> NDArray[np.int64]:
    """Where checks stand among `rows` rows and themselves, ascending; `before` rows had been drawn with this seed."""
    rng = np.random.default_rng(derive(int(seed, 16), f"checks {before}"))
    return np.sort(rng.choice(rows + count, size=count, replace=False)).astype(np.int64)


def mixed_in(seed: str, before: int, rows: int, *, used: Iterable[Check], numbers: Sequence[int]) -> list[Check]:
    """A check for each of `numbers`, which it borrows, in a draw of `rows` rows; fewer if shipped prompts run out.

    No prompt is used twice for a dataset: who has seen it would know it again.
    """
    known = list(used)
    left = sorted(set(texts()) - {one.text for one in known})
    count = min(len(numbers), len(left))
    if not count:
        return []
    rng = np.random.default_rng(derive(int(seed, 16), f"check texts {before}"))
    chosen, at, first = rng.permutation(len(left))[:count], places(seed, before, rows, count).tolist(), len(known) + 1
    return [Check(-first - n, at[n], left[int(chosen[n])], numbers[n]) for n in range(count)]


def in_order(rows: Sequence[int], checks: Sequence[Check]) -> list[int]:
    """Rows and checks (their negative ids) in the order in which they are to be read."""
    if not checks:
        return list(rows)
    at = {check.place: check.id for check in checks}
    left = iter(rows)
    return [at[place] if place in at else next(left) for place in range(len(rows) + len(checks))]


def with_checks(decided: Decided, readings: Iterable[CheckReading]) -> Decided:
    """The decisions with those on checks among them, by their negative ids; of each the first stands."""
    first: dict[int, int] = {}
    for reading in readings:
        first.setdefault(reading.check, reading.code)
    if not first:
        return decided
    ids = np.array(sorted(first), dtype=np.int64)
    codes = np.array([first[one] for one in ids.tolist()], dtype=np.uint8)
    return Decided(
        decided.seq,
        np.concatenate([ids, decided.row_ids]),
        np.concatenate([codes, decided.codes]),
        np.concatenate([np.full(len(ids), np.nan, dtype=np.float32), decided.scores]),
    )


@dataclass(frozen=True)
class Reader:
    """What one person (or all: "") found of the checks; the share in percent with Clopper and Pearson's exact 95 % interval."""

    by: str
    checks: int
    found: int

    @property
    def share(self) -> Estimate:
        return clopper_pearson(self.found, self.checks)


def readers(readings: Iterable[CheckReading]) -> list[Reader]:
    """All together first (`by` is ""), then each person, those with the most checks first; empty before a check was decided."""
    first: dict[int, CheckReading] = {}
    for reading in readings:
        first.setdefault(reading.check, reading)
    people = {"": list(first.values())}
    for reading in first.values():
        people.setdefault(reading.by, []).append(reading)
    found = [Reader(by, len(those), sum(one.found for one in those)) for by, those in people.items() if those]
    return sorted(found, key=lambda one: (one.by != "", -one.checks, one.by))
