"""Labels of a file that say harmful or harmless: which values are understood by themselves, and which a person must explain."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reft_studio.data.columns import HARMFUL_WHEN_TRUE, HARMLESS_WHEN_TRUE, plain_name
from reft_studio.errors import SpecError

HARMFUL = {"harmful", "unsafe", "malicious", "poison", "poisoned", "toxic", "dangerous"}
HARMLESS = {
    *("harmless", "safe", "benign", "clean", "unharmful", "non harmful", "nonharmful", "not harmful"),
    *("non toxic", "nontoxic", "not toxic", "not poisoned", "not malicious", "not unsafe"),
}
_BOOLEANS = {"true": True, "yes": True, "y": True, "t": True, "1": True, "false": False, "no": False, "n": False, "f": False, "0": False}
MOST_VALUES = 50
LONGEST = 40
"""More or longer values are no labels: they may be the texts of rows, and are never shown."""
NOT_UNDERSTOOD = "a label that says neither harmful nor harmless: the row counts as not labelled"
"""Warning for a row whose label has a value that nobody explained."""


def label_text(cell: Any) -> str:
    """A label as text, alike from every format: 1, 1.0, "1" and " 1.0" are "1"; true is "true"; nothing and NaN are ""."""
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, list | tuple | dict):
        return f"(a {type(cell).__name__})"
    text = f"{cell:g}" if isinstance(cell, float) else str(cell).strip()
    return text[:-2] if re.fullmatch(r"-?\d{1,15}\.0", text) else text


def truth(cell: Any, column: str, labels: Mapping[str, bool] | None = None) -> bool | None:
    """Whether a label says harmful; None if it is empty or not understood.

    With `labels` (text of a value -> harmful), what a person said holds and nothing else. Without, words such as "unsafe" are clear,
    and yes, true and 1 mean what the name of the column says.
    """
    text = label_text(cell)
    if labels:
        return labels.get(text)
    word = re.sub(r"[\s_\-]+", " ", text.casefold())
    if word in HARMFUL or word in HARMLESS:
        return word in HARMFUL
    name, said = plain_name(column), _BOOLEANS.get(word)
    if said is None or not (name in HARMFUL_WHEN_TRUE or name in HARMLESS_WHEN_TRUE):
        return None
    return said if name in HARMFUL_WHEN_TRUE else not said


@dataclass(frozen=True)
class LabelValues:
    """The values of a column of labels."""

    column: str
    counts: dict[str, int]
    """Rows of each value, the most frequent first; "" are rows without one."""
    whole: bool
    """Whether all rows were counted, or only the first."""

    @property
    def values(self) -> list[str]:
        """The values that say something."""
        return [value for value in self.counts if value]

    @property
    def is_label(self) -> bool:
        """Whether these can be labels: few, and short."""
        return 0 < len(self.values) <= MOST_VALUES and all(len(value) <= LONGEST for value in self.values)

    @property
    def harmful(self) -> list[str]:
        """The values that mean harmful by themselves."""
        return [value for value in self.values if truth(value, self.column) is True]

    @property
    def clear(self) -> bool:
        """Whether nobody needs to be asked: all values are understood, or there are some of either meaning."""
        meanings = {truth(value, self.column) for value in self.values}
        return None not in meanings or {True, False} <= meanings

    def chosen(self, harmful: Sequence[str]) -> dict[str, bool]:
        """Each value with whether it means harmful. Raises SpecError if a chosen one does not occur, or if all or none are chosen."""
        wanted = {label_text(value) for value in harmful}
        folded = {value.casefold(): value for value in self.values}
        wanted = {value if value in self.counts else folded.get(value.casefold(), value) for value in wanted}
        if unknown := wanted - set(self.values):
            raise SpecError(f"'{min(unknown)[:LONGEST]}' is no value of '{self.column[:40]}'. It has: {self.described()}.")
        if self.whole and len(wanted) == len(self.values) > 1:
            raise SpecError(f"All values of '{self.column[:40]}' cannot mean harmful. Choose some of: {self.described()}.")
        return {value: value in wanted for value in self.values}

    def described(self) -> str:
        """The values with their rows, for a message: `0 (7 rows), 1 (3 rows)`."""
        shown = [f"{value} ({count:,} {'row' if count == 1 else 'rows'})" for value, count in list(self.counts.items())[:12] if value]
        return ", ".join(shown) + (f", … ({len(self.values)} values in all)" if len(self.values) > 12 else "")


def count_labels(column: str, cells: Iterable[Any], *, whole: bool) -> LabelValues:
    """Count the values of a column; it stops where they are too many to be labels."""
    counts: Counter[str] = Counter()
    for cell in cells:
        counts[label_text(cell)] += 1
        if len(counts) > MOST_VALUES + 1:
            whole = False
            break
    return LabelValues(column, dict(counts.most_common()), whole)


def unclear(found: LabelValues) -> SpecError:
    """What to tell somebody who named a column of labels that cannot be read without them."""
    column = found.column[:40]
    if not found.is_label:
        return SpecError(
            f"'{column}' is no column of labels: it is empty, or has more than {MOST_VALUES} different or long values. "
            "Choose a column that says of each row whether it is harmful, or none."
        )
    return SpecError(
        f"'{column}' has the values {found.described()}, and nothing says which of them means harmful. "
        "Choose it under 'Which value means harmful', or on the command line with --harmful-value VALUE."
    )
