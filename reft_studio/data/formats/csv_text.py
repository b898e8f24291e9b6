"""Tables as text: the line that names the separator, quotes escaped with a backslash, and reading both."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Protocol

from reft_studio.data.columns import known_names
from reft_studio.data.formats.layout import Escape, FileLayout
from reft_studio.errors import DataError

MAX_CELL = 8 << 20
_SEPARATOR = re.compile(r"""\A\s*"?sep=([^\w\s"]|\t)"?\1*[ ]*(?:\r\n|\n|\r)""", re.IGNORECASE)
_LINE = re.compile(r"[^\n]*+\n|[^\n]++")
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)


class CsvReader(Protocol):
    """What `csv.reader` gives."""

    @property
    def line_num(self) -> int:
        """Lines taken so far."""

    def __iter__(self) -> Iterator[list[str]]: ...

    def __next__(self) -> list[str]: ...


def separator_line(text: str) -> str:
    """The separator that a first line such as `sep=;` names, as Excel reads and writes it; "" if there is no such line."""
    found = _SEPARATOR.match(text)
    return found[1] if found else ""


def cells_of(lines: Iterable[str], layout: FileLayout, *, strict: bool = False) -> CsvReader:
    """A reader of the cells of these lines. With `strict` it raises csv.Error for quotes out of place instead of guessing."""
    return _reader(lines, layout.delimiter, layout.escape, spaced=layout.spaced, strict=strict)


def _reader(lines: Iterable[str], delimiter: str, escape: Escape, *, strict: bool, spaced: bool = False) -> CsvReader:
    # the limit is one setting of the whole process; ours is above every row we accept
    csv.field_size_limit(MAX_CELL)
    if not escape:
        return csv.reader(lines, delimiter=delimiter, strict=strict, skipinitialspace=spaced)
    marked = (_marked(line, escape) for line in lines)
    return csv.reader(marked, delimiter=delimiter, escapechar="\\", strict=strict, skipinitialspace=spaced)


def _marked(line: str, escape: Escape) -> str:
    """The line with every backslash doubled that escapes nothing, since Python's reader drops it."""
    if "\\" not in line:
        return line

    def mark(found: re.Match[str]) -> str:
        if found[1] == '"' or (found[1] == "\\" and escape == "all"):
            return found[0]
        return found[0] * 2 if found[1] == "\\" else f"\\\\{found[1]}"

    return _ESCAPED.sub(mark, line)


def escape_of(text: str, delimiter: str) -> Escape:
    """How the beginning of a table escapes quotes inside quoted cells.

    It is with a backslash if more rows are whole when read so; a cell may also just end in a backslash, as a path does.
    """
    if '\\"' not in text:
        return ""
    lines = _LINE.findall(text)
    escape: Escape = "all" if {found[1] for found in _ESCAPED.finditer(text)} == {'"', "\\"} else "quotes"
    return escape if _whole_rows(lines, delimiter, escape) > _whole_rows(lines, delimiter, "") else ""


def is_spaced(text: str, delimiter: str) -> bool:
    """Whether every separator of the header is followed by a space, and some space comes before an opening quote.

    A quote after a space opens nothing otherwise: the cell would be cut at the next separator, and keep its quotes.
    """
    header = text.partition("\n")[0]
    return 0 < header.count(delimiter) == header.count(f"{delimiter} ") and f'{delimiter} "' in text


def _whole_rows(lines: list[str], delimiter: str, escape: Escape) -> int:
    """Rows as wide as the first, up to the first quote out of place."""
    whole, width = 0, 0
    with suppress(csv.Error):
        for cells in _reader(lines, delimiter, escape, strict=True):
            width = width or len(cells)
            whole += len(cells) == width
    return whole


def has_stray_quote(lines: list[str], layout: FileLayout) -> bool:
    """Whether a record has a quote after a backslash that the table's own notation does not explain: reading it would damage its text."""
    if layout.escape or not any('\\"' in line for line in lines):
        return False
    try:
        list(cells_of(lines, layout, strict=True))
    except csv.Error:
        return True
    return False


def line_of_cells(cells: Iterable[str], layout: FileLayout, ending: str) -> str:
    """A row in the notation of a table that escapes quotes with a backslash.

    Raises DataError for a cell that this notation cannot say, e.g. one with a separator that ends in a backslash.
    """
    return layout.delimiter.join(_cell(cell, layout) for cell in cells) + ending


def _cell(cell: str, layout: FileLayout) -> str:
    text = cell.replace("\\", "\\\\") if layout.escape == "all" else cell
    for written in ('"' + text.replace('"', '\\"') + '"', text):
        with suppress(csv.Error):
            if list(cells_of([written + layout.delimiter + "x"], layout, strict=True)) == [[cell, "x"]]:
                return written
    raise DataError(
        "A cell cannot be written in the notation of this table, which escapes quotes with a backslash: it ends in one, or has one "
        "before a quote. Import the file as JSON Lines instead, then export it."
    )


def delimiter_of(text: str) -> str:
    """Of comma, semicolon, tab and bar the one that gives known column names, then the most even rows."""
    sample = text[: 64 << 10]

    def quality(delimiter: str) -> tuple[int, float, int]:
        try:
            rows = [row for row in islice(csv.reader(sample.splitlines(keepends=True), delimiter=delimiter), 30) if row]
        except csv.Error:
            return 0, 0.0, 0
        width = len(rows[0]) if rows else 0
        even = sum(len(row) == width for row in rows) / max(1, len(rows))
        return known_names(rows[0]) if width > 1 else 0, even if width > 1 else 0.0, width

    return max(",;\t|", key=quality)
