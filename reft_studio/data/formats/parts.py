"""Pieces of an upload become rows: the quick way where a row is plain, the careful way where it is not."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from reft_studio.data.dataset import Role
from reft_studio.data.formats.csv_text import cells_of, has_stray_quote
from reft_studio.data.formats.detect import FileLayout
from reft_studio.data.formats.json_stream import Element
from reft_studio.data.formats.lines import MAX_ROW_BYTES, line_of, read_lines
from reft_studio.data.formats.parquet_rows import ParquetBatch, batch_rows
from reft_studio.data.formats.records import JsonText, LineFeed, csv_record, csv_records, is_open, json_record, jsonl_record
from reft_studio.data.rows.fast_rows import FastRows
from reft_studio.data.rows.interpret import LONG_TEXT, Interpreter
from reft_studio.data.rows.mapping import Mapping
from reft_studio.data.rows.record import RawRecord
from reft_studio.data.rows.row_columns import PieceRows, RowColumns

HOLD_BYTES = 4 * MAX_ROW_BYTES
"""A larger piece holds a line that is too long: it is read line by line instead of at once."""
_SPACED = re.compile(rb'"[ \t\r\n]+:')
_LINE = re.compile(rb"[^\n]*+\n|[^\n]++")
_COMMA = re.compile(rb",[ \t]*+(?=\r?\n|\Z)")
_ESCAPED_CONTROL = re.compile(rb"\\(?:u00[017]|b)")
_CONTROLS = bytes({*range(9), *range(14, 32), 127})


class LinesPiece(NamedTuple):
    """Whole lines of a JSON Lines file."""

    start: int
    length: int


class TablePiece(NamedTuple):
    """Lines of a table that are whole records if no quote in them is out of place."""

    start: int
    length: int


class ElementsPiece(NamedTuple):
    """Elements of a JSON document, one after another."""

    elements: list[Element]


class BatchesPiece(NamedTuple):
    """Rows of a Parquet file, one after another."""

    batches: list[ParquetBatch]


class RecordsPiece(NamedTuple):
    """Records that know their ids and lines; for whatever has no quick way."""

    records: list[RawRecord]


Piece = LinesPiece | TablePiece | ElementsPiece | BatchesPiece | RecordsPiece


@dataclass(frozen=True)
class ReadingSpec:
    """How an upload is read; small, so that it can be given to another process."""

    path: Path
    layout: FileLayout
    mapping: Mapping
    role: Role
    free: bool
    """Whether rows without the mapped columns are read by their own names."""
    header: list[str]
    """Of a table."""


class PartReader:
    """Turns pieces of one upload into parts."""

    def __init__(self, reading: ReadingSpec) -> None:
        self.reading = reading
        self._encoding = reading.layout.encoding
        self._careful = Interpreter(reading.mapping, reading.role, reading.free, reading.layout.encoding)
        self._fast = FastRows(reading.mapping, reading.role)
        self._json = JsonText(commas=reading.layout.commas)

    def read(self, piece: Piece) -> PieceRows | None:
        """The rows of a piece.

        None for a piece of a table in which a quote is out of place: from its start on, the table must be read as one.
        """
        match piece:
            case LinesPiece():
                return self._lines(piece) if piece.length <= HOLD_BYTES else self._long_lines(piece)
            case TablePiece():
                return self._table(piece)
            case ElementsPiece():
                return self._elements(piece)
            case BatchesPiece():
                return self._batches(piece)
            case RecordsPiece():
                columns = RowColumns()
                for record in piece.records:
                    self._read(record, columns)
                return columns.part(ids=0, lines=0)

    def _read(self, record: RawRecord, columns: RowColumns) -> None:
        """The careful way."""
        found = self._careful.read(record)
        columns.problems += found.problems
        columns.empty_responses += found.empty_response
        if found.row is not None:
            columns.add(found.row, found.user_turns)

    def _bytes(self, piece: LinesPiece | TablePiece) -> bytes:
        with self.reading.path.open("rb") as file:
            file.seek(piece.start)
            return file.read(piece.length)

    # JSON Lines

    def _lines(self, piece: LinesPiece) -> PieceRows:
        block = self._bytes(piece)
        if self._json.commas:
            block = _COMMA.sub(b"", block)
        lines = block.splitlines(keepends=True) if b"\r" not in block else _LINE.findall(block)
        controls = _has_controls(block)
        keys = _keys_of_all(block)
        part = None if keys is None else self._all_lines(lines, controls, keys=keys)
        return part or self._each_line(lines, controls)

    def _all_lines(self, lines: list[bytes], controls: bool, *, keys: int) -> PieceRows | None:
        """Lines whose keys are counted together (`keys`), which is quicker; None if a key seems to appear twice in an object."""
        columns, rest, before = RowColumns(), 0, self._fast.keys
        add, loads = self._fast.add, orjson.loads
        for number, line in enumerate(lines):
            try:
                value = loads(line)
            except orjson.JSONDecodeError:
                value = None
            if type(value) is not dict or len(line) > LONG_TEXT or not add(value, number, columns, controls=controls):
                rest += _keys(line)
                self._slow_line(line, number, columns)
        if self._fast.keys - before != keys - rest:
            return None
        return columns.part(ids=len(lines), lines=len(lines))

    def _each_line(self, lines: list[bytes], controls: bool) -> PieceRows:
        columns = RowColumns()
        for number, line in enumerate(lines):
            if not self._quick(line, number, columns, controls):
                self._slow_line(line, number, columns)
        return columns.part(ids=len(lines), lines=len(lines))

    def _quick(self, text: bytes, row_id: int, columns: RowColumns, controls: bool) -> bool:
        """Append the row of one JSON text, if it is plain and surely no key appears twice in an object."""
        if len(text) > LONG_TEXT or _SPACED.search(text):
            return False
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return False
        return type(value) is dict and self._fast.add(value, row_id, columns, controls=controls, keys=_keys(text))

    def _slow_line(self, line: bytes, number: int, columns: RowColumns) -> None:
        if (record := jsonl_record(line_of(number + 1, line, self._encoding), self._json)) is not None:
            self._read(record, columns)

    def _long_lines(self, piece: LinesPiece) -> PieceRows:
        columns, count = RowColumns(), 0
        for line in read_lines(self.reading.path, self._encoding, skip=piece.start, end=piece.start + piece.length):
            count += 1
            if (record := jsonl_record(line, self._json)) is not None:
                self._read(record, columns)
        return columns.part(ids=count, lines=count)

    # JSON documents and Parquet

    def _elements(self, piece: ElementsPiece) -> PieceRows:
        columns = RowColumns()
        for number, element in enumerate(piece.elements):
            text = b"" if element.damage else element.text.encode("utf-8", "replace")
            controls = _has_controls(text)
            if element.damage or _beyond_unicode(element.text) or not self._quick(text, number, columns, controls):
                self._read(json_record(number, element, self._json, self.reading.layout), columns)
        return columns.part(ids=len(piece.elements), lines=len(piece.elements))

    def _batches(self, piece: BatchesPiece) -> PieceRows:
        columns, count = RowColumns(), 0
        for batch in piece.batches:
            for row in batch_rows(batch, count):
                count += 1
                if row.error or row.value is None or not self._fast.add(row.value, row.place, columns, controls=True):
                    self._read(RawRecord(row.place, row.place + 1, row.value, b"", row.size, row.error), columns)
        return columns.part(ids=count, lines=count)

    # tables

    def _table(self, piece: TablePiece) -> PieceRows | None:
        if piece.length > HOLD_BYTES:
            return None
        block = self._bytes(piece)
        try:
            text = block.decode(self._encoding)
        except UnicodeDecodeError:
            return self._careful_table(block)
        lines = list(io.StringIO(text, newline="\n"))
        if piece.length > MAX_ROW_BYTES and max(map(len, lines)) > MAX_ROW_BYTES // 4:
            return self._careful_table(block)
        try:
            return self._records_of(lines, controls=len(block.translate(None, _CONTROLS)) < len(block), backslashes='\\"' in text)
        except csv.Error:
            return None

    def _records_of(self, lines: list[str], *, controls: bool, backslashes: bool) -> PieceRows | None:
        header, layout = self.reading.header, self.reading.layout
        columns, width, row_id, start = RowColumns(), len(header), 0, 0
        reader = cells_of(lines, layout)
        for cells in reader:
            first, start = start, reader.line_num
            # the last line may be the beginning of a record that goes on in the next piece
            if (start - first > 1 or (start == len(lines) and '"' in lines[first])) and is_open(lines[first:start], layout):
                return None
            if not cells:
                continue
            value = dict(zip(header, cells, strict=False))
            stray = backslashes and has_stray_quote(lines[first:start], layout)
            if stray or len(cells) != width or not self._fast.add(value, row_id, columns, controls=controls):
                raw = [
                    line_of(first + 1 + place, line.encode(self._encoding), self._encoding) for place, line in enumerate(lines[first:start])
                ]
                self._read(csv_record(row_id, cells, raw, header, layout), columns)
            row_id += 1
        return columns.part(ids=row_id, lines=len(lines))

    def _careful_table(self, block: bytes) -> PieceRows | None:
        """A piece with bytes that are no text, or very long lines."""
        raw = _LINE.findall(block)
        feed = LineFeed(iter([line_of(number, line, self._encoding) for number, line in enumerate(raw, start=1)]))
        columns, count = RowColumns(), 0
        for record in csv_records(self.reading.path, self.reading.layout, feed, self.reading.header):
            last = len(feed.taken) == 1 and feed.taken[0].number == len(raw)
            if feed.given_back or (last and '"' in feed.taken[0].text and is_open([feed.taken[0].text], self.reading.layout)):
                return None
            self._read(record, columns)
            count += 1
        return columns.part(ids=count, lines=len(raw))


def _keys(text: bytes) -> int:
    """Keys in a valid JSON text, if no space stands before a colon and no key ends in a backslash: a quote inside a string is escaped."""
    return text.count(b'":') - text.count(b'\\":')


def _keys_of_all(block: bytes) -> int | None:
    """The same for megabytes; None if a space stands before a colon somewhere."""
    signs = np.frombuffer(block, np.uint8)
    colons = np.flatnonzero(signs == ord(":"))
    colons = colons[colons >= 2]
    before = signs[colons - 1]
    if np.isin(before, np.frombuffer(b" \t\r\n", np.uint8)).any():
        return None
    return int(((before == ord('"')) & (signs[colons - 2] != ord("\\"))).sum())


def _has_controls(text: bytes) -> bool:
    """Whether JSON text may hold control characters, which it must write as escapes (all but DEL)."""
    return b"\x7f" in text or _ESCAPED_CONTROL.search(text) is not None


def _beyond_unicode(text: str) -> bool:
    """Whether there is half a surrogate pair: a byte that was no text."""
    return not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text)
