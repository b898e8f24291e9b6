"""What several people think of the same rows: one opinion each, where they differ, and how well they agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.decision import Action
from reft_studio.errors import SpecError

HUMAN = "human:"
"""How the name of a person begins in the log."""
OVERRULES = "overrules: "
"""How the reason of a decision begins that settles what others decided otherwise."""


@dataclass(frozen=True)
class Opinion:
    """A person's newest decision about a row that is not undone."""

    by: str
    action: Action
    reason: str
    at: str
    seq: int
    seen: bool | None = None

    @property
    def overrules(self) -> bool:
        """Whether it settles what others decided otherwise before."""
        return self.reason.startswith(OVERRULES)

    def is_by(self, reviewer: str) -> bool:
        """Whether this reviewer has the opinion."""
        return self.by.removeprefix(HUMAN) == reviewer


def standing(opinions: Sequence[Opinion]) -> list[Opinion]:
    """Those of one row that count, newest first as they are given: an overruling one settles all before it."""
    settled = max((one.seq for one in opinions if one.overrules), default=0)
    return [one for one in opinions if one.seq >= settled]


def standing_of_others(opinions: Sequence[Opinion], reviewer: str) -> Opinion | None:
    """The newest opinion of another person that counts; None if none does."""
    return next((one for one in standing(opinions) if not one.is_by(reviewer) and one.action != "clear"), None)


@dataclass(frozen=True)
class Opinions:
    """Opinions on the rows that at least two people decided, ascending by row, then by seq; arrays are (opinions,).

    `people` names the codes in `by`; `codes` are those of `store.decided.ACTIONS`, 0 for a row that this person cleared.
    """

    people: tuple[str, ...]
    row_ids: NDArray[np.int64]
    by: NDArray[np.int32]
    codes: NDArray[np.uint8]
    seqs: NDArray[np.int64]
    overrules: NDArray[np.bool_]

    def conflicts(self) -> NDArray[np.int64]:
        """Ids of rows on which two people differ and nobody's word has settled it, ascending."""
        return self._disputed

    @cached_property
    def _disputed(self) -> NDArray[np.int64]:  # asked several times for each decision; a fifth of a second for a million shared rows
        spoken = self.codes > 0
        settled = _last_overruling(self.row_ids, self.seqs, self.overrules)
        counted = spoken & (self.seqs >= settled)
        rows, codes = self.row_ids[counted], self.codes[counted]
        differ = (rows[1:] == rows[:-1]) & (codes[1:] != codes[:-1])
        return np.unique(rows[1:][differ])

    def seconded(self) -> NDArray[np.int64]:
        """Ids of rows on which two people have the opinion that is newest, ascending."""
        spoken = self.codes > 0
        rows, codes = self.row_ids[spoken], self.codes[spoken]
        newest = np.append(rows[1:] != rows[:-1], True) if len(rows) else np.zeros(0, dtype=bool)
        holds = codes[newest][np.searchsorted(rows[newest], rows)]
        found, count = np.unique(rows[codes == holds], return_counts=True)
        return np.asarray(found[count > 1])


def _last_overruling(rows: NDArray[np.int64], seqs: NDArray[np.int64], overrules: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(opinions,) seq of the newest overruling opinion on the same row, 0 where there is none."""
    ids, at = np.unique(rows, return_inverse=True)
    newest = np.zeros(len(ids), dtype=np.int64)
    np.maximum.at(newest, at[overrules], seqs[overrules])
    return newest[at]


def overruling(reason: str) -> str:
    """The reason of a decision that settles a conflict. Raises SpecError if none is given."""
    if not reason.strip():
        raise SpecError("Somebody decided this row otherwise. Give a reason to overrule that decision.")
    return f"{OVERRULES}{reason}"


@dataclass(frozen=True)
class ReviewerAgreement:
    """Krippendorff's alpha over the rows that several people decided: 1 is full agreement, 0 what chance would give; None: too little."""

    alpha: float | None
    rows: int
    people: list[str]
    sentence: str


def agreement(opinions: Opinions) -> ReviewerAgreement:
    """How well people agree on what to do with a row, each action a category of its own."""
    spoken = opinions.codes > 0
    shared = int((np.unique(opinions.row_ids[spoken], return_counts=True)[1] > 1).sum())
    people = sorted({opinions.people[code] for code in np.unique(opinions.by[spoken])})
    alpha = krippendorff_alpha(opinions.row_ids[spoken], opinions.codes[spoken])
    if alpha is None:
        return ReviewerAgreement(None, shared, people, "No agreement can be told yet: let a second person decide some of the same rows.")
    rows = f"{shared:,} {'row' if shared == 1 else 'rows'}"
    return ReviewerAgreement(alpha, shared, people, f"Agreement of {len(people)} people on {rows}: Krippendorff's alpha {alpha:.2f}.")


def krippendorff_alpha(units: Iterable[int] | NDArray[np.int64], values: Iterable[int] | NDArray[np.uint8]) -> float | None:
    """Alpha for nominal values (n,) given to units (n,); None without a unit that has two values, or without any difference to expect.

    Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): 1 - observed / expected disagreement, where a unit with m values
    adds each ordered pair of them with the weight 1 / (m - 1), and values are paired by chance within all units that have two or more.
    """
    _, unit = np.unique(np.asarray(units), return_inverse=True)
    _, value = np.unique(np.asarray(values), return_inverse=True)
    if not len(unit):
        return None
    table = np.zeros((unit.max() + 1, value.max() + 1))
    np.add.at(table, (unit, value), 1)
    table = table[table.sum(axis=1) > 1]
    size, total = table.sum(axis=1, keepdims=True), table.sum()
    if total == 0:
        return None
    observed = float((table * (size - table) / (size - 1)).sum())
    of_value = table.sum(axis=0)
    expected = float((of_value * (total - of_value)).sum() / (total - 1))
    return 1 - observed / expected if expected else None
