"""Every row of an upload in order, readable or not: one record each, with its place and its original bytes."""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from reft_studio.data.columns import unique_headers
from reft_studio.data.formats.arrow_rows import arrow_rows
from reft_studio.data.formats.csv_text import cells_of, has_stray_quote
from reft_studio.data.formats.detect import FileLayout
from reft_studio.data.formats.json_stream import Element, elements, outline
from reft_studio.data.formats.lines import TextLine, read_lines
from reft_studio.data.formats.parquet_rows import MAX_COLUMNS, parquet_rows
from reft_studio.data.rows.record import RawRecord
from reft_studio.errors import DataError

MAX_COLUMNAR_BYTES = 256 << 20
"""JSON that holds one column after the other cannot be streamed; above this it must be converted."""

_BACKSLASH = 'The quote is escaped with a backslash (\\"), which this table does not do elsewhere. Write two quotes ("") instead.'
_FAULT = re.compile(r": .*|:$| (starting )?at$")

MAX_RECORD_LINES = 100_000
"""Lines of one CSV record; more are taken for an open quote."""
MAX_REREADS = 20
SAMPLE_BYTES = 16 << 20


def read_records(path: Path, layout: FileLayout, *, columns: Sequence[str] | None = None) -> Iterator[RawRecord]:
    """All records of a file; of Parquet only these columns. Raises DataError if the file as a whole cannot be read."""
    if layout.container == "jsonl":
        return _jsonl(path, layout)
    if layout.container == "csv":
        return _csv(path, layout)
    if layout.container == "parquet":
        return (RawRecord(row.place, row.place + 1, row.value, b"", row.size, row.error) for row in parquet_rows(path, columns=columns))
    if layout.container == "arrow":
        return (RawRecord(row.place, row.place + 1, row.value, b"", row.size, row.error) for row in arrow_rows(path, columns=columns))
    return _json(path, layout)


def csv_header(path: Path, layout: FileLayout) -> tuple[list[str], bytes]:
    """Column names of a CSV file, made distinct, and the bytes of its header."""
    feed = LineFeed(read_lines(path, layout.encoding, skip=layout.bom, newline=layout.newline))
    cells: list[str] | None
    if layout.separator_line:
        next(feed, None)
    try:
        cells = next((row for row in cells_of(feed, layout) if row), [])
    except csv.Error:
        cells = None
    return _checked_header(path, cells), b"".join(line.raw for line in feed.taken)


class JsonText:
    """Reads JSON with notes on what the standard forbids but many files hold. One object serves many texts."""

    def __init__(self, *, commas: bool = False) -> None:
        self.commas = commas
        """Whether lines may end in a comma."""
        self._notes: set[str] = set()
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=self._constant)

    def read(self, text: str) -> tuple[Any, str, str, tuple[str, ...]]:
        """The value, the error with a hint (or ""), and warnings."""
        self._notes.clear()
        try:
            return self._decoder.decode(text), "", "", tuple(sorted(self._notes))
        except json.JSONDecodeError as exc:
            return None, f"not valid JSON: {_FAULT.sub('', exc.msg).lower()}", _json_hint(text, exc), ()
        except RecursionError:
            return None, "JSON nested too deeply", "Keep nesting below some hundred levels.", ()
        except ValueError:  # an integer beyond Python's limit of 4300 digits
            return None, "JSON holds a number with thousands of digits", "Write the number as text.", ()

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            self._notes.add("a key appears twice in an object: the last one counts")
        return found

    def _constant(self, _name: str) -> None:
        self._notes.add("NaN or Infinity, which JSON does not have, read as empty")


def _json_hint(text: str, exc: json.JSONDecodeError) -> str:
    start = text.lstrip()
    if start.startswith("{'"):
        return "This looks like Python's own notation. Write the row with json.dumps."
    if start.startswith(("//", "#", "<<<<", ">>>>", "====", "<")):
        return "Remove lines that are no rows: comments, merge marks, error pages."
    if exc.msg.startswith("Extra data"):
        return "Put one object on each line and nothing after it."
    if exc.pos >= len(text.rstrip()):
        return "The row ends too early: it is cut off, or spread over several lines. Put each row on one line."
    if "control character" in exc.msg:
        return "Write line breaks and other control characters as \\n or \\u0000 inside strings."
    return f"Look at column {exc.colno} of the row: {exc.msg.lower()}."


def _jsonl(path: Path, layout: FileLayout) -> Iterator[RawRecord]:
    reader = JsonText(commas=layout.commas)
    for line in read_lines(path, layout.encoding, skip=layout.bom, newline=layout.newline):
        if (record := jsonl_record(line, reader)) is not None:
            yield record


def jsonl_record(line: TextLine, reader: JsonText) -> RawRecord | None:
    """The record on a line, None if the line is blank."""
    row_id = line.number - 1
    if line.damage:
        return RawRecord(row_id, line.number, None, line.raw, len(line.raw), line.damage, _damage_hint(line.damage))
    text = line.text.strip().strip("\ufeff\0")
    if reader.commas:
        text = text.removesuffix(",").rstrip()
    if not text:
        return None
    value, error, hint, warnings = reader.read(text)
    return RawRecord(row_id, line.number, value, line.raw, len(line.raw), error, hint, warnings)


def _damage_hint(damage: str) -> str:
    return "Save the file as UTF-8." if "bytes" in damage else "Split or shorten the row."


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


def _csv(path: Path, layout: FileLayout) -> Iterator[RawRecord]:
    feed = LineFeed(read_lines(path, layout.encoding, skip=layout.bom, newline=layout.newline))
    if layout.separator_line:
        next(feed, None)
    return csv_records(path, layout, feed, [])


def csv_records(path: Path, layout: FileLayout, feed: LineFeed, header: list[str]) -> Iterator[RawRecord]:
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
        yield csv_record(row_id, cells, feed.taken, header, layout)
        row_id += 1


def _checked_header(path: Path, cells: list[str] | None) -> list[str]:
    if cells is None or len(cells) > MAX_COLUMNS:
        raise DataError(
            f"{path.name}: its first line is no header or has more than {MAX_COLUMNS} columns. "
            "Begin the file with the column names, and keep the columns that matter."
        )
    return unique_headers(cells)


def csv_record(row_id: int, cells: list[str] | None, lines: list[TextLine], header: list[str], layout: FileLayout) -> RawRecord:
    """The record that these lines hold; `cells` is None if they hold none."""
    raw, number = b"".join(line.raw for line in lines), lines[0].number
    damage = next((line.damage for line in lines if line.damage), "")
    if damage:
        return RawRecord(row_id, number, None, raw, len(raw), damage, _damage_hint(damage))
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


def _json(path: Path, layout: FileLayout) -> Iterator[RawRecord]:
    where = outline(path, layout.encoding, layout.bom)
    if where.kind == "columns":
        yield from _columns(path, layout)
        return
    reader = JsonText()
    for row_id, element in enumerate(elements(path, layout.encoding, layout.bom, where)):
        yield json_record(row_id, element, reader, layout)


def json_record(row_id: int, element: Element, reader: JsonText, layout: FileLayout) -> RawRecord:
    """The record that an element of a JSON document is."""
    raw = element.text.encode(layout.encoding, "surrogateescape" if layout.encoding == "utf-8" else "replace")
    if element.damage:
        return RawRecord(
            row_id, row_id + 1, None, raw, len(raw), element.damage, "Check that the file is whole and every quote and bracket is closed."
        )
    if not element.text.isascii() and any("\udc80" <= sign <= "\udcff" for sign in element.text):
        return RawRecord(row_id, row_id + 1, None, raw, len(raw), f"bytes that are not valid {layout.encoding}", "Save the file as UTF-8.")
    value, error, hint, warnings = reader.read(element.text)
    return RawRecord(row_id, row_id + 1, value, raw, len(raw), error, hint, warnings)


def load_columns(path: Path, layout: FileLayout) -> dict[str, Any]:
    """A JSON document that holds columns, read whole. Raises DataError if it is too large or broken."""
    size = path.stat().st_size
    if size > MAX_COLUMNAR_BYTES:
        raise DataError(
            f"{path.name} holds its columns one after another and has {size >> 20} MiB, but such a file is read whole and may have "
            f"{MAX_COLUMNAR_BYTES >> 20} MiB. Save it as JSON Lines (pandas: to_json(orient='records', lines=True))."
        )
    text = path.read_bytes()[layout.bom :].decode(layout.encoding, "replace")
    value, error, hint, _ = JsonText().read(text)
    if error or not isinstance(value, dict):
        raise DataError(f"{path.name}: {error or 'not an object of columns'}. {hint} Save it as JSON Lines.")
    return value


def _columns(path: Path, layout: FileLayout) -> Iterator[RawRecord]:
    columns = load_columns(path, layout)
    named = {name: cells if isinstance(cells, dict) else dict(enumerate(cells)) for name, cells in columns.items()}
    first = next(iter(named.values()), {})
    for row_id, key in enumerate(first):
        yield RawRecord(
            row_id, row_id + 1, {name: cells.get(key) for name, cells in named.items()}, b"", path.stat().st_size // max(1, len(first))
        )


def sample(path: Path, layout: FileLayout, count: int) -> list[RawRecord]:
    """The first `count` records, fewer if they are very large."""
    records: list[RawRecord] = []
    size = 0
    for record in islice(read_records(path, layout), count):
        records.append(record)
        size += record.size
        if size > SAMPLE_BYTES:
            break
    return records
