"""The records of a table in order, whatever quotes are open: each with its lines."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from reft_studio.data.columns import unique_headers
from reft_studio.data.formats.csv_text import cells_of, has_stray_quote
from reft_studio.data.formats.layout import FileLayout
from reft_studio.data.formats.lines import TextLine, damage_hint, read_lines
from reft_studio.data.formats.parquet_rows import MAX_COLUMNS
from reft_studio.data.rows.record import RawRecord
from reft_studio.errors import DataError

_BACKSLASH = 'The quote is escaped with a backslash (\\"), which this table does not do elsewhere. Write two quotes ("") instead.'
MAX_RECORD_LINES = 100_000
"""Lines of one CSV record; more are taken for an open quote."""
MAX_REREADS = 20


class LineFeed:
    """Gives lines to the CSV reader and remembers which it took for the record at hand."""

    def __init__(self, lines: Iterator[TextLine]) -> None:
        self._lines = lines
        self._again: deque[TextLine] = deque()
        self.taken: list[TextLine] = []
        self.given_back = 0
        """How often a quote was found open, and lines after it were read again."""

    def __iter__(self) -> LineFeed:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= MAX_RECORD_LINES:
            raise csv.Error("record of too many lines")
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        return line.text

    def give_back(self) -> None:
        """Let all lines of the record but its first be read again."""
        self.given_back += 1
        self._again.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


class Header(NamedTuple):
    """Column names of a table, made distinct, and the bytes before its first row, without a byte order mark."""

    names: list[str]
    raw: bytes


def header_of(path: Path, layout: FileLayout) -> Header:
    """The header of a table. Raises DataError if its first line cannot be one."""
    feed = LineFeed(read_lines(path, layout.encoding, skip=layout.bom, newline=layout.newline))
    cells: list[str] | None
    if layout.separator_line:
        next(feed, None)
    try:
        cells = next((row for row in cells_of(feed, layout) if row), [])
    except csv.Error:
        cells = None
    return Header(_checked_header(path, cells), b"".join(line.raw for line in feed.taken))


def records_of(feed: LineFeed, path: Path, layout: FileLayout, header: list[str]) -> Iterator[RawRecord]:
    """The records of these lines; if `header` is empty, the first one is it."""
    reader = cells_of(feed, layout)
    row_id = 0
    while True:
        feed.taken.clear()
        cells: list[str] | None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            cells = None
        if cells == [] and not feed.taken[0].damage:
            continue
        if not header:
            header = _checked_header(path, cells)
            continue
        if len(feed.taken) > 1 and (cells is None or is_open([line.text for line in feed.taken], layout)):
            # an open quote has swallowed what follows; a file with hundreds of them is not worth reading again and again
            cells = None
            if feed.given_back < MAX_REREADS:
                feed.give_back()
                reader = cells_of(feed, layout)
        yield record_of(row_id, cells, feed.taken, header, layout)
        row_id += 1


def _checked_header(path: Path, cells: list[str] | None) -> list[str]:
    if cells is None or len(cells) > MAX_COLUMNS:
        raise DataError(
            f"{path.name}: its first line is no header or has more than {MAX_COLUMNS} columns. "
            "Begin the file with the column names, and keep the columns that matter."
        )
    return unique_headers(cells)


def record_of(row_id: int, cells: list[str] | None, lines: list[TextLine], header: list[str], layout: FileLayout) -> RawRecord:
    """The record that these lines hold; `cells` is None if they hold none."""
    raw, number = b"".join(line.raw for line in lines), lines[0].number
    damage = next((line.damage for line in lines if line.damage), "")
    if damage:
        return RawRecord(row_id, number, None, raw, len(raw), damage, damage_hint(damage))
    if has_stray_quote([line.text for line in lines], layout):
        return RawRecord(row_id, number, None, raw, len(raw), "a quote after a backslash", _BACKSLASH)
    if cells is None and any("\r" in line.text.rstrip("\r\n") for line in lines):
        hint = "The file mixes kinds of line ends. Save it again with one kind of them."
        return RawRecord(row_id, number, None, raw, len(raw), "a carriage return inside a row", hint)
    if cells is None:
        hint = "Close the quote, and double every quote inside a quoted cell."
        return RawRecord(row_id, number, None, raw, len(raw), "a quote is never closed", hint)
    if len(cells) > len(header) and not any(cell.strip() for cell in cells[len(header) :]):
        cells = cells[: len(header)]  # columns that a spreadsheet added without anything in them
    if len(cells) > len(header):
        hint = f"{len(cells)} cells for {len(header)} columns. Put cells that hold the separator in double quotes."
        return RawRecord(row_id, number, None, raw, len(raw), "more cells than columns", hint)
    warnings = ("fewer cells than columns",) if len(cells) < len(header) else ()
    return RawRecord(row_id, number, dict(zip(header, cells, strict=False)), raw, len(raw), warnings=warnings)


def is_open(lines: list[str], layout: FileLayout) -> bool:
    """Whether a record of several lines is held together by an open quote, which Python's reader forgives.

    It does so at the end of a file, and where a quote that opens a later cell seems to close this one.
    """
    try:
        list(cells_of(lines, layout, strict=True))
    except csv.Error:
        return True
    return False
