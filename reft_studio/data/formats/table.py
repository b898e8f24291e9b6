"""Tables as text: CSV, TSV and their kin, with any separator and in any encoding. Text that is nothing else is taken for one."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

import pyarrow as pa

from reft_studio.data.formats.csv_records import Header, LineFeed, header_of, is_open, record_of, records_of
from reft_studio.data.formats.csv_text import cells_of, delimiter_of, escape_of, has_stray_quote, is_spaced, line_of_cells, separator_line
from reft_studio.data.formats.export import Export
from reft_studio.data.formats.format import ANY_TEXT, DataFile, Format
from reft_studio.data.formats.head import FileHead
from reft_studio.data.formats.json_stream import text_errors
from reft_studio.data.formats.layout import FileLayout
from reft_studio.data.formats.lines import BLOCK, MAX_ROW_BYTES, line_end, line_of, read_lines
from reft_studio.data.formats.piece_reader import PieceReader
from reft_studio.data.formats.pieces import HOLD_BYTES, Cut, Piece, of_records, of_table
from reft_studio.data.rows.mapping import name_list
from reft_studio.data.rows.record import RawRecord
from reft_studio.data.rows.row_columns import PieceRows, RowColumns
from reft_studio.errors import DataError

_LINE = re.compile(rb"[^\n]*+\n|[^\n]++")
_CONTROLS = bytes({*range(9), *range(14, 32), 127})
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


class Table(Format):
    """What `know` finds is the header."""

    name = "csv"
    label = "CSV"
    endings = (".csv", ".tsv")
    loose_endings = (".txt",)
    family = "csv"
    writes = True
    spreadsheet = True
    asked = ANY_TEXT
    unit = "line"

    def sniff(self, head: FileHead) -> FileLayout:
        if named := separator_line(head.text):
            escape = escape_of(head.text.partition(head.newline)[2], named)
            return head.layout(self.name, delimiter=named, separator_line=True, escape=escape)
        delimiter = delimiter_of(head.text)
        escape, spaced = escape_of(head.text, delimiter), is_spaced(head.text, delimiter)
        return head.layout(self.name, delimiter=delimiter, escape=escape, spaced=spaced)

    def know(self, file: DataFile) -> Header:
        return header_of(file.path, file.layout)

    def columns(self, file: DataFile, records: Sequence[RawRecord]) -> list[str]:
        return _header(file).names

    def records(self, file: DataFile, *, columns: Sequence[str] | None = None) -> Iterator[RawRecord]:
        feed = LineFeed(read_lines(file.path, file.layout.encoding, skip=file.layout.bom, newline=file.layout.newline))
        if file.layout.separator_line:
            next(feed, None)
        return records_of(feed, file.path, file.layout, [])

    def lines_before(self, file: DataFile) -> int:
        return _header(file).raw.count(file.layout.newline.encode(file.layout.encoding))

    def cut(self, file: DataFile, columns: Sequence[str]) -> Iterator[Cut]:
        before = len(_header(file).raw)
        if file.layout.newline == "\n" and _holds_ascii(file.layout.encoding) and before < BLOCK:
            return of_table(file.path, file.layout.bom + before)
        return of_records(self.records(file))

    def cut_on(self, file: DataFile, start: int) -> Iterator[Cut]:
        """A quote is out of place: only reading on in order tells where records end."""
        start = start or file.layout.bom + len(_header(file).raw)
        feed = LineFeed(read_lines(file.path, file.layout.encoding, skip=start, newline=file.layout.newline))
        return of_records(records_of(feed, file.path, file.layout, _header(file).names), start)

    def read(self, piece: Piece, reader: PieceReader) -> PieceRows | None:
        start, length = piece.words
        if length > HOLD_BYTES:
            return None
        block = reader.bytes_at(start, length)
        try:
            text = block.decode(reader.file.layout.encoding)
        except UnicodeDecodeError:
            return _careful_rows(block, reader)
        lines = list(io.StringIO(text, newline="\n"))
        if length > MAX_ROW_BYTES and max(map(len, lines)) > MAX_ROW_BYTES // 4:
            return _careful_rows(block, reader)
        try:
            return _rows_of(lines, reader, controls=len(block.translate(None, _CONTROLS)) < len(block), backslashes='\\"' in text)
        except csv.Error:
            return None

    def notes(self, file: DataFile) -> list[tuple[str, str]]:
        if not file.layout.escape:
            return []
        return [('quotes escaped with a backslash (\\")', "They are read as quotes; the cleaned file is written in the same way.")]

    def odd_columns(self, columns: Sequence[str]) -> tuple[str, str] | None:
        if not any(re.search(r" \(\d+\)$|^column \d+$", column) for column in columns):
            return None
        return "empty or repeated column names", f"Read as: {name_list(columns)}."

    def without_names(self) -> str:
        return "If its first line is a row already, put a line with the column names above it."

    def cleaned(self, file: DataFile) -> str:
        separator = _SEPARATORS.get(file.layout.delimiter, f"'{file.layout.delimiter}'")
        return f"a table separated by {separator}" + (", quotes escaped with a backslash" if file.layout.escape else "")

    def export(self, export: Export) -> None:
        """The lines of kept rows as they stand in the upload, after its byte order mark and header."""
        export.bom()
        export.out.write(_header(export.file).raw)
        for record in self.records(export.file):
            if record.row_id in export.kept:
                export.out.write(_answered(record, export) if record.row_id in export.responses else record.raw)

    def write(self, rows: pa.Table, out: BinaryIO) -> None:
        text = io.TextIOWrapper(out, "utf-8", newline="")
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(rows.column_names)
        for batch in rows.to_batches():
            lines.writerows([_written(cell) for cell in row.values()] for row in batch.to_pylist())
        text.detach()  # writes what is pending, and leaves the file open

    def append(self, file: DataFile, first: DataFile, out: BinaryIO) -> None:
        """The lines below the header, which must be that of `first`."""
        layout, raw = file.layout, _header(file).raw
        if file is first:
            out.write(raw.decode(layout.encoding, text_errors(layout.encoding)).encode("utf-8", text_errors("utf-8")))
        else:
            _check_alike(file, first)
        ended = True
        for line in read_lines(file.path, layout.encoding, skip=layout.bom + len(raw), newline=layout.newline):
            text = line.raw.decode(layout.encoding, text_errors(layout.encoding))
            out.write(text.encode("utf-8", text_errors("utf-8")))
            ended = text.endswith(("\n", "\r"))
        if not ended:
            out.write(b"\n")


FORMAT = Table()


def _header(file: DataFile) -> Header:
    return cast(Header, file.known)


def _holds_ascii(encoding: str) -> bool:
    """Whether line breaks and quotes are the same bytes in this encoding as in ASCII, and in no other sign."""
    if encoding.replace("-", "_").startswith(("utf_7", "utf_16", "utf_32", "iso2022", "hz")):
        return False
    return '\n"'.encode(encoding) == b'\n"'


def _rows_of(lines: list[str], reader: PieceReader, *, controls: bool, backslashes: bool) -> PieceRows | None:
    header, layout = _header(reader.file).names, reader.file.layout
    columns, width, row_id, start = RowColumns(), len(header), 0, 0
    cells_in_order = cells_of(lines, layout)
    for cells in cells_in_order:
        first, start = start, cells_in_order.line_num
        # the last line may be the beginning of a record that goes on in the next piece
        if (start - first > 1 or (start == len(lines) and '"' in lines[first])) and is_open(lines[first:start], layout):
            return None
        if not cells:
            continue
        value = dict(zip(header, cells, strict=False))
        stray = backslashes and has_stray_quote(lines[first:start], layout)
        if stray or len(cells) != width or not reader.fast.add(value, row_id, columns, controls=controls):
            encoded = (line.encode(layout.encoding) for line in lines[first:start])
            raw = [line_of(number, line, layout.encoding) for number, line in enumerate(encoded, start=first + 1)]
            reader.slowly(record_of(row_id, cells, raw, header, layout), columns)
        row_id += 1
    return columns.part(ids=row_id, lines=len(lines))


def _careful_rows(block: bytes, reader: PieceReader) -> PieceRows | None:
    """A piece with bytes that are no text, or very long lines."""
    layout, raw = reader.file.layout, _LINE.findall(block)
    feed = LineFeed(iter([line_of(number, line, layout.encoding) for number, line in enumerate(raw, start=1)]))
    columns, count = RowColumns(), 0
    for record in records_of(feed, reader.file.path, layout, _header(reader.file).names):
        last = len(feed.taken) == 1 and feed.taken[0].number == len(raw)
        if feed.given_back or (last and '"' in feed.taken[0].text and is_open([feed.taken[0].text], layout)):
            return None
        reader.slowly(record, columns)
        count += 1
    return columns.part(ids=count, lines=len(raw))


def _written(cell: Any) -> Any:
    """A cell as other programs read it."""
    return str(cell).lower() if isinstance(cell, bool) else cell


def _answered(record: RawRecord, export: Export) -> bytes:
    """A relabelled row, with the line end it had."""
    layout = export.file.layout
    ending, value = line_end(record.raw.decode(layout.encoding)), export.answered(record.value, record.row_id)
    cells = [value[name] for name in _header(export.file).names if name in value]
    line = io.StringIO()
    if layout.escape:
        line.write(line_of_cells(cells, layout, ending))
    else:
        csv.writer(line, delimiter=layout.delimiter, lineterminator=ending).writerow(cells)
    try:
        return line.getvalue().encode(layout.encoding)
    except UnicodeEncodeError as exc:
        raise DataError(f"The new answer of row {record.row_id} has signs that {layout.encoding} does not have.") from exc


def _check_alike(file: DataFile, first: DataFile) -> None:
    """Raise DataError unless rows of both tables can stand below one header."""
    name, layout, before = file.path.name, file.layout, first.layout
    if _header(file).names != _header(first).names:
        raise DataError(f"{name} has other columns than the parts before it, or in another order. Import the parts one by one.")
    if layout.escape != before.escape and layout.escape and before.escape:  # a part without a quote to escape shows none
        raise DataError(f"{name} writes quotes in another way than the parts before it. Import the parts one by one.")
    if layout.delimiter != before.delimiter:
        raise DataError(f"{name} has another separator than the parts before it. Import the parts one by one.")
