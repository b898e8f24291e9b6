"""Tables that a spreadsheet opens without running anything in them."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from reft_studio.data.writing.files import replacing

_BEGIN = frozenset("=+-@|%\u2212")
"""What a formula, or an old program's command, begins with; the last is the minus sign of typesetting."""
_LOOKED_AT = 200
"""Characters that are looked at: a cell that begins with more that cannot be seen is treated as a formula."""


def safe_cell(value: Any) -> Any:
    """A cell that no spreadsheet runs: a text that begins like a formula gets an apostrophe in front; numbers stay."""
    return f"'{value}" if isinstance(value, str) and _like_formula(value) else value


def _like_formula(text: str) -> bool:
    """Whether the first character that can be seen begins a formula, in any width.

    White space, controls, marks and format characters (zero width, direction, soft hyphen) in front of it are passed over.
    """
    if text[:1] in ("\t", "\r", "\n"):
        return True
    head = unicodedata.normalize("NFKC", text[:_LOOKED_AT])
    first = next((sign for sign in head if unicodedata.category(sign)[0] not in "CZM"), "")
    return first in _BEGIN if first else len(text) > _LOOKED_AT


def export_csv_safe(rows: Iterable[Mapping[str, Any]], target: Path, *, columns: Sequence[str] | None = None) -> Path:
    """Write rows as CSV for a spreadsheet: UTF-8 with byte order mark, every cell quoted, formulas neutralised.

    Without `columns`, those of the first row. The file appears whole or not at all.
    """
    iterator = iter(rows)
    first = next(iterator, None)
    names = list(columns) if columns is not None else list(first or {})
    with replacing(target) as file:
        text = io.TextIOWrapper(file, "utf-8-sig", errors="replace", newline="")
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        writer.writerow([safe_cell(name) for name in names])
        for row in chain([] if first is None else [first], iterator):
            writer.writerow([safe_cell(row.get(name)) for name in names])
        text.detach()  # writes what is pending, and leaves the file to `replacing`
    return target
