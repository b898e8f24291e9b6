"""JSON Lines: one object on each line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import orjson
import pyarrow as pa

from reft_studio.data.chat.conversation import is_conversation
from reft_studio.data.columns import find_column
from reft_studio.data.formats.csv_text import separator_line
from reft_studio.data.formats.export import Export
from reft_studio.data.formats.format import DataFile, Format
from reft_studio.data.formats.head import FileHead
from reft_studio.data.formats.json_stream import text_errors
from reft_studio.data.formats.json_text import JsonText, add_quickly, has_controls, json_bytes, keys_in, keys_of_all
from reft_studio.data.formats.layout import FileLayout
from reft_studio.data.formats.lines import TextLine, damage_hint, line_end, line_of, raw_lines, read_lines
from reft_studio.data.formats.piece_reader import PieceReader
from reft_studio.data.formats.pieces import HOLD_BYTES, Cut, Piece, of_lines, of_records
from reft_studio.data.rows.interpret import LONG_TEXT
from reft_studio.data.rows.record import RawRecord
from reft_studio.data.rows.row_columns import PieceRows, RowColumns
from reft_studio.fingerprint import canonical_json

_LINE = re.compile(rb"[^\n]*+\n|[^\n]++")
_COMMA = re.compile(rb",[ \t]*+(?=\r?\n|\Z)")
_LAST_COMMA = re.compile(r",(\s*)\Z")


class JsonLines(Format):
    """Lines that may end in a comma, and of which some may be broken."""

    name = "jsonl"
    label = "JSON Lines"
    endings = (".jsonl", ".ndjson")
    family = "jsonl"
    writes = True
    unit = "line"

    def sniff(self, head: FileHead) -> FileLayout | None:
        filled = head.filled
        if not filled or separator_line(head.text):
            return None
        whole = [_object(line) for line in filled if line.startswith("{")]
        objects = sum(found is not None for found in whole)
        if filled[0].startswith("{") and not filled[0].endswith(("[", "{")):
            listed = [line.removesuffix(",") for line in filled if line.endswith(",")]
            if len(listed) > 1 and sum(_object(line) is not None for line in listed) + objects > 0.5 * len(filled):
                return head.layout(self.name, commas=True)
        return head.layout(self.name) if _are_lines(head, filled, whole, objects) else None

    def records(self, file: DataFile, *, columns: Sequence[str] | None = None) -> Iterator[RawRecord]:
        reader = JsonText(commas=file.layout.commas)
        for line in read_lines(file.path, file.layout.encoding, skip=file.layout.bom, newline=file.layout.newline):
            if (record := _record(line, reader)) is not None:
                yield record

    def cut(self, file: DataFile, columns: Sequence[str]) -> Iterator[Cut]:
        if file.layout.encoding == "utf-8" and file.layout.newline == "\n":
            return of_lines(file.path, file.layout.bom)
        return of_records(self.records(file))

    def read(self, piece: Piece, reader: PieceReader) -> PieceRows:
        start, length = piece.words
        if length > HOLD_BYTES:
            return _long_lines(start, length, reader)
        block = reader.bytes_at(start, length)
        if reader.file.layout.commas:
            block = _COMMA.sub(b"", block)
        lines = block.splitlines(keepends=True) if b"\r" not in block else _LINE.findall(block)
        controls = has_controls(block)
        keys = keys_of_all(block)
        part = None if keys is None else _all_lines(lines, reader, controls=controls, keys=keys)
        return part or _each_line(lines, reader, controls=controls)

    def notes(self, file: DataFile) -> list[tuple[str, str]]:
        if not file.layout.commas:
            return []
        return [("a comma after each line, which JSON Lines does not have", "It is left out when the cleaned file is written.")]

    def cleaned(self, file: DataFile) -> str:
        return f"{self.label}, without the commas after the lines" if file.layout.commas else self.label

    def export(self, export: Export) -> None:
        """The lines of kept rows as they stand in the upload, after its byte order mark."""
        export.bom()
        for record in _lines_and_answers(export):
            if record.row_id in export.kept:
                export.out.write(_answered(record, export) if record.row_id in export.responses else _plain(record.raw, export.file.layout))

    def write(self, rows: pa.Table, out: BinaryIO) -> None:
        for batch in rows.to_batches():
            out.writelines(canonical_json(row).encode("ascii") + b"\n" for row in batch.to_pylist())

    def append(self, file: DataFile, first: DataFile, out: BinaryIO) -> None:
        layout = file.layout
        for line in read_lines(file.path, layout.encoding, skip=layout.bom, newline=layout.newline):
            text = line.raw.decode(layout.encoding, text_errors(layout.encoding)).strip("\r\n\ufeff")
            text = text.rstrip().removesuffix(",") if layout.commas else text
            out.write(text.encode("utf-8", text_errors("utf-8")) + b"\n")


FORMAT = JsonLines()


def _are_lines(head: FileHead, filled: list[str], whole: list[dict[str, Any] | None], objects: int) -> bool:
    """Whether each of the lines that a file begins with is a row; `whole` are those that open an object."""
    if filled[0].startswith("["):
        return len(filled) > 1 and _is_json(filled[0]) and not filled[1].startswith(",")
    if not filled[0].startswith("{"):
        # the first line may be broken
        return objects >= max(2, 0.5 * len(filled))
    if len(filled) > 1:
        return whole[0] is not None or objects > 0.3 * len(filled)
    return _has_second_object(head.file) if whole[0] is None else _is_row(whole[0])


def _is_row(value: dict[str, Any]) -> bool:
    """Whether an object is a row itself: its prompt is text, or its messages a list of turns."""
    prompt, messages = find_column("prompt", list(value)), find_column("messages", list(value))
    return (prompt is not None and isinstance(value[prompt], str)) or (messages is not None and is_conversation(value[messages]))


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _has_second_object(file: BinaryIO) -> bool:
    """Whether a first line that is longer than the head is followed by a line that opens an object."""
    file.seek(0)
    while (block := file.readline(1 << 20)) and not block.endswith(b"\n"):
        pass
    return file.readline(1 << 10).lstrip().startswith(b"{")


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _record(line: TextLine, reader: JsonText) -> RawRecord | None:
    """The record on a line, None if the line is blank."""
    row_id = line.number - 1
    if line.damage:
        return RawRecord(row_id, line.number, None, line.raw, len(line.raw), line.damage, damage_hint(line.damage))
    text = line.text.strip().strip("\ufeff\0")
    if reader.commas:
        text = text.removesuffix(",").rstrip()
    if not text:
        return None
    value, error, hint, warnings = reader.read(text)
    return RawRecord(row_id, line.number, value, line.raw, len(line.raw), error, hint, warnings)


def _all_lines(lines: list[bytes], reader: PieceReader, *, controls: bool, keys: int) -> PieceRows | None:
    """Lines whose keys are counted together (`keys`), which is quicker; None if a key seems to appear twice in an object."""
    columns, rest, before = RowColumns(), 0, reader.fast.keys
    add, loads, slow = reader.fast.add, orjson.loads, JsonText(commas=reader.file.layout.commas)
    for number, line in enumerate(lines):
        try:
            value = loads(line)
        except orjson.JSONDecodeError:
            value = None
        if type(value) is not dict or len(line) > LONG_TEXT or not add(value, number, columns, controls=controls):
            rest += keys_in(line)
            _slow_line(line, number, slow, reader, columns)
    if reader.fast.keys - before != keys - rest:
        return None
    return columns.part(ids=len(lines), lines=len(lines))


def _each_line(lines: list[bytes], reader: PieceReader, *, controls: bool) -> PieceRows:
    columns, slow = RowColumns(), JsonText(commas=reader.file.layout.commas)
    for number, line in enumerate(lines):
        if not add_quickly(line, number, reader.fast, columns, controls=controls):
            _slow_line(line, number, slow, reader, columns)
    return columns.part(ids=len(lines), lines=len(lines))


def _slow_line(line: bytes, number: int, slow: JsonText, reader: PieceReader, columns: RowColumns) -> None:
    if (record := _record(line_of(number + 1, line, reader.file.layout.encoding), slow)) is not None:
        reader.slowly(record, columns)


def _long_lines(start: int, length: int, reader: PieceReader) -> PieceRows:
    columns, count, slow = RowColumns(), 0, JsonText(commas=reader.file.layout.commas)
    for line in read_lines(reader.file.path, reader.file.layout.encoding, skip=start, end=start + length):
        count += 1
        if (record := _record(line, slow)) is not None:
            reader.slowly(record, columns)
    return columns.part(ids=count, lines=count)


def _lines_and_answers(export: Export) -> Iterator[RawRecord]:
    """The records; only those with a new answer are understood, since the others go out as they are."""
    layout = export.file.layout
    reader = JsonText(commas=layout.commas)
    for row_id, (raw, _) in enumerate(raw_lines(export.file.path, layout.encoding, skip=layout.bom, newline=layout.newline)):
        if row_id in export.responses:
            found = _record(line_of(row_id + 1, raw, layout.encoding), reader)
            yield from [found] if found else []
        else:
            yield RawRecord(row_id, row_id + 1, None, raw, len(raw))


def _plain(raw: bytes, layout: FileLayout) -> bytes:
    """A line as it stands in the upload, without a comma after it."""
    if not layout.commas:
        return raw
    errors = text_errors(layout.encoding)
    return _LAST_COMMA.sub(r"\1", raw.decode(layout.encoding, errors)).encode(layout.encoding, errors)


def _answered(record: RawRecord, export: Export) -> bytes:
    """A relabelled line, with the line end it had."""
    encoding = export.file.layout.encoding
    return json_bytes(export.answered(record.value, record.row_id), encoding) + line_end(record.raw.decode(encoding)).encode(encoding)
