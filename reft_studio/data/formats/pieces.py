"""An upload cut into pieces that can be read on their own, in order, each a few megabytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from reft_studio.data.formats.json_stream import Element
from reft_studio.data.formats.lines import BLOCK, MAX_ROW_BYTES
from reft_studio.data.formats.parquet_rows import ParquetBatch
from reft_studio.data.rows.record import RawRecord

HOLD_BYTES = 4 * MAX_ROW_BYTES
"""A larger piece holds a line that is too long: it is read line by line instead of at once."""
PIECE_BYTES = 4 << 20
PIECE_ROWS = 8192
CAREFUL_ROWS = 512
"""Records read between two looks at cancellation where there is no quick way."""


class Piece(NamedTuple):
    """Rows of a file that are read at once, as its format says them: where they are or what they are."""

    words: Any = None
    """JSON, e.g. the place and length of a stretch of bytes."""
    batches: tuple[ParquetBatch, ...] = ()
    records: list[RawRecord] | None = None
    """Records that know their ids and lines, for whatever has no quick way; they are read where they are."""


class Cut(NamedTuple):
    """A piece, with how much of the upload (as its format counts it) lies behind it when it is read."""

    piece: Piece
    done: int


def of_lines(path: Path, start: int) -> Iterator[Cut]:
    """Whole lines, by place and length."""
    size = path.stat().st_size
    with path.open("rb") as file:
        while start < size:
            end = _line_end(file, start + PIECE_BYTES, size)
            yield Cut(Piece((start, end - start)), end)
            start = end


def _line_end(file: BinaryIO, place: int, size: int) -> int:
    """The end of the line at `place`."""
    file.seek(place)
    while place < size and (block := file.read(BLOCK // 16)):
        if (found := block.find(b"\n")) >= 0:
            return place + found + 1
        place += len(block)
    return size


def of_table(path: Path, start: int) -> Iterator[Cut]:
    """Lines, by place and length, that end where a line ends and every quote has its partner."""
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
            yield Cut(Piece((start, length)), start + length)
            start += length


def of_elements(found: Iterable[Element]) -> Iterator[Cut]:
    """Elements of a JSON document, one after another."""
    some: list[Element] = []
    held, done = 0, 0
    for element in found:
        some.append(element)
        held += len(element.text)
        if held >= PIECE_BYTES or len(some) >= PIECE_ROWS:
            done += held
            yield Cut(Piece(some), done)
            some, held = [], 0
    if some:
        yield Cut(Piece(some), done + held)


def of_batches(found: Iterable[ParquetBatch]) -> Iterator[Cut]:
    """Rows as Arrow, one after another."""
    some: list[ParquetBatch] = []
    rows, held, done = 0, 0, 0
    for batch in found:
        some.append(batch)
        rows += len(batch.sizes)
        held += int(batch.sizes.sum())
        if held >= PIECE_BYTES or rows >= PIECE_ROWS:
            done += rows
            yield Cut(Piece(batches=tuple(some)), done)
            some, rows, held = [], 0, 0
    if some:
        yield Cut(Piece(batches=tuple(some)), done + rows)


def of_records(found: Iterator[RawRecord], done: int = 0) -> Iterator[Cut]:
    """Records in order, `done` bytes behind the first of them."""
    while some := list(islice(found, CAREFUL_ROWS)):
        done += sum(record.size for record in some)
        yield Cut(Piece(records=some), done)
