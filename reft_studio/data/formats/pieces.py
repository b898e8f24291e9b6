"""An upload cut into pieces that can be read on their own, in order, each a few megabytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from reft_studio.data.formats.arrow_rows import arrow_batches
from reft_studio.data.formats.detect import FileLayout
from reft_studio.data.formats.json_stream import Element, elements, outline
from reft_studio.data.formats.lines import BLOCK, MAX_ROW_BYTES, read_lines
from reft_studio.data.formats.parquet_rows import ParquetBatch, parquet_batches
from reft_studio.data.formats.parts import HOLD_BYTES, BatchesPiece, ElementsPiece, LinesPiece, Piece, RecordsPiece, TablePiece
from reft_studio.data.formats.records import LineFeed, csv_records, read_records
from reft_studio.data.rows.record import RawRecord

PIECE_BYTES = 4 << 20
PIECE_ROWS = 8192
CAREFUL_ROWS = 512
"""Records read between two looks at cancellation where there is no quick way."""


class Cut(NamedTuple):
    """A piece, with how much of the upload (bytes; of Parquet rows) lies behind it when it is read."""

    piece: Piece
    done: int


def cut(path: Path, layout: FileLayout, *, header_bytes: int, columns: list[str]) -> Iterator[Cut]:
    """All pieces. `header_bytes`: the header of a table; `columns`: those of a Parquet file that are read."""
    if layout.container == "jsonl" and layout.encoding == "utf-8" and layout.newline == "\n":
        return _lines(path, layout.bom)
    if layout.container == "csv" and layout.newline == "\n" and _holds_ascii(layout.encoding) and header_bytes < BLOCK:
        return _table(path, layout.bom + header_bytes)
    if layout.container == "parquet":
        return _batches(parquet_batches(path, columns=columns))
    if layout.container == "arrow":
        return _batches(arrow_batches(path, columns=columns))
    if layout.container == "json" and (where := outline(path, layout.encoding, layout.bom)).kind != "columns":
        return _elements(elements(path, layout.encoding, layout.bom, where))
    return _records(read_records(path, layout), 0)


def cut_carefully(path: Path, layout: FileLayout, start: int, header: list[str]) -> Iterator[Cut]:
    """The rest of a table in which a quote is out of place: only reading on in order tells where its records end."""
    feed = LineFeed(read_lines(path, layout.encoding, skip=start, newline=layout.newline))
    return _records(csv_records(path, layout, feed, header), start)


def _holds_ascii(encoding: str) -> bool:
    """Whether line breaks and quotes are the same bytes in this encoding as in ASCII, and in no other sign."""
    if encoding.replace("-", "_").startswith(("utf_7", "utf_16", "utf_32", "iso2022", "hz")):
        return False
    return '\n"'.encode(encoding) == b'\n"'


def _lines(path: Path, start: int) -> Iterator[Cut]:
    size = path.stat().st_size
    with path.open("rb") as file:
        while start < size:
            end = _line_end(file, start + PIECE_BYTES, size)
            yield Cut(LinesPiece(start, end - start), end)
            start = end


def _line_end(file: BinaryIO, place: int, size: int) -> int:
    """The end of the line at `place`."""
    file.seek(place)
    while place < size and (block := file.read(BLOCK // 16)):
        if (found := block.find(b"\n")) >= 0:
            return place + found + 1
        place += len(block)
    return size


def _table(path: Path, start: int) -> Iterator[Cut]:
    """Pieces that end where a line ends and every quote has its partner."""
    with path.open("rb") as file:
        while True:
            file.seek(start)
            block = file.read(PIECE_BYTES)
            if not block:
                return
            length, quotes = len(block), block.count(b'"')
            while (not block.endswith(b"\n") or quotes % 2) and length <= HOLD_BYTES and (block := file.readline(MAX_ROW_BYTES)):
                length += len(block)
                quotes += block.count(b'"')
            yield Cut(TablePiece(start, length), start + length)
            start += length


def _elements(found: Iterable[Element]) -> Iterator[Cut]:
    some: list[Element] = []
    held, done = 0, 0
    for element in found:
        some.append(element)
        held += len(element.text)
        if held >= PIECE_BYTES or len(some) >= PIECE_ROWS:
            done += held
            yield Cut(ElementsPiece(some), done)
            some, held = [], 0
    if some:
        yield Cut(ElementsPiece(some), done + held)


def _batches(found: Iterable[ParquetBatch]) -> Iterator[Cut]:
    some: list[ParquetBatch] = []
    rows, held, done = 0, 0, 0
    for batch in found:
        some.append(batch)
        rows += len(batch.sizes)
        held += int(batch.sizes.sum())
        if held >= PIECE_BYTES or rows >= PIECE_ROWS:
            done += rows
            yield Cut(BatchesPiece(some), done)
            some, rows, held = [], 0, 0
    if some:
        yield Cut(BatchesPiece(some), done + rows)


def _records(found: Iterator[RawRecord], done: int) -> Iterator[Cut]:
    while some := list(islice(found, CAREFUL_ROWS)):
        done += sum(record.size for record in some)
        yield Cut(RecordsPiece(some), done)
