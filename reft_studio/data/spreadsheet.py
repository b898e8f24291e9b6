"""Tables that a spreadsheet opens without running anything in them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from reft_studio.data.writing import replacing

_FORMULA = re.compile(r"[\s\u200b\ufeff\x00-\x1f]*[=+\-@|%\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")


def safe_cell(value: Any) -> Any:
    """A cell that no spreadsheet runs: a text that begins like a formula gets an apostrophe in front; numbers stay."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


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
