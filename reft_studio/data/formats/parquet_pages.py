"""How large the pages of a Parquet file are, and the texts in its dictionaries: a few bytes there can stand for gigabytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

DICTIONARY_PAGE = 2
SMALL = 64 << 10
"""Bytes of a dictionary that is not looked into: none of its texts can be longer."""
LARGE = 16 << 20
"""Bytes of a dictionary that is not unpacked."""
HEADER, LONGEST_HEADER = 1 << 10, 16 << 20
"""Bytes read to find the header of a page, and the longest that Arrow accepts (statistics in it may hold texts)."""
PAGE = 32 << 20
"""Bytes that a page may always have unpacked; a larger one must have been packed from what looks like text."""
MOST_PAGE = 512 << 20
DEEPEST = 16


class ParquetPage(NamedTuple):
    """The beginning of a page: its kind, its bytes unpacked and packed, and those of the header."""

    kind: int
    size: int
    packed: int
    header: int


def longest_entry(file: BinaryIO, column: Any) -> int:
    """A bound in bytes on the texts in the dictionary of a column in one row group; 0 if there is none.

    `column` is the metadata of that column. Where the pages cannot be read here, its whole unpacked size is the bound.
    """
    start = _start(column)
    try:
        page = _page_at(file, start)
        if page.kind != DICTIONARY_PAGE:
            return 0
        if page.size <= SMALL or page.size > LARGE:
            return page.size
        file.seek(start + page.header)
        packed = file.read(page.packed)
        return _longest(packed if column.compression == "UNCOMPRESSED" else _unpacked(packed, column.compression, page.size))
    except (ValueError, OSError, IndexError, OverflowError, pa.ArrowException):
        return max(int(column.total_uncompressed_size), SMALL)


def bomb(file: BinaryIO, metadata: Any, *, ratio: int) -> tuple[int, int] | None:
    """The first page that no writer of texts makes: its bytes packed and unpacked; None if there is none.

    Only headers are read. One that cannot be read here is left to the reader of the file.
    """
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            for page in _pages(file, column):
                if page.size > MOST_PAGE or page.size > max(PAGE, ratio * page.packed):
                    return page.packed, page.size
    return None


def _pages(file: BinaryIO, column: Any) -> Iterator[ParquetPage]:
    place = _start(column)
    end = place + int(column.total_compressed_size)
    while place < end:
        try:
            page = _page_at(file, place)
        except (ValueError, IndexError, OSError):
            return
        yield page
        place += page.header + page.packed


def _start(column: Any) -> int:
    start = int(column.data_page_offset)
    if column.dictionary_page_offset is not None and 0 < column.dictionary_page_offset < start:
        start = int(column.dictionary_page_offset)
    return start


def _page_at(file: BinaryIO, place: int) -> ParquetPage:
    for length in (HEADER, LONGEST_HEADER):
        file.seek(place)
        data = file.read(length)
        try:
            return page_header(data)
        except IndexError:
            if len(data) < length or length == LONGEST_HEADER:
                raise
    raise AssertionError("not reached")


def page_header(data: bytes) -> ParquetPage:
    """Read the header of a page (Thrift, compact protocol). Raises ValueError or IndexError if it is none, or not whole."""
    found: dict[int, int] = {}
    place = _struct(data, 0, found, DEEPEST)
    if not {1, 2, 3} <= found.keys() or min(found[2], found[3]) < 0:
        raise ValueError("no page header")
    return ParquetPage(found[1], found[2], found[3], place)


def _struct(data: bytes, place: int, found: dict[int, int], depth: int) -> int:
    """The place after a structure; its integers go into `found`, by the number of their field."""
    number = 0
    while head := data[place]:
        place += 1
        if head >> 4:
            number += head >> 4
        else:
            folded, place = _varint(data, place)
            number = _unfolded(folded)
        if head & 15 in _INTEGERS:
            folded, place = _varint(data, place)
            found[number] = _unfolded(folded)
        elif head & 15 not in _BOOLEANS:  # of a field they are told by its type, and take no byte
            place = _value(data, place, head & 15, depth - 1)
    return place + 1


def _value(data: bytes, place: int, kind: int, depth: int) -> int:
    """The place after a value of this kind."""
    if not depth:
        raise ValueError("nested too deeply")
    if kind in _BOOLEANS or kind == _BYTE:
        return place + 1
    if kind in _INTEGERS:
        return _varint(data, place)[1]
    if kind == _DOUBLE:
        return place + 8
    if kind == _BINARY:
        length, place = _varint(data, place)
        return place + length
    if kind in _LISTS:
        head, place = data[place], place + 1
        count = head >> 4
        if count == 15:
            count, place = _varint(data, place)
        for _ in range(count):
            place = _value(data, place, head & 15, depth - 1)
            data[place - 1]  # a count of billions ends where the bytes do
        return place
    if kind == _STRUCT:
        return _struct(data, place, {}, depth)
    raise ValueError("a kind that no page header has")


_BOOLEANS, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _LISTS, _STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 12


def _unfolded(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


def _varint(data: bytes, place: int) -> tuple[int, int]:
    number, shift = 0, 0
    while True:
        byte = data[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place


def _unpacked(packed: bytes, compression: str, size: int) -> bytes:
    codec = pa.Codec({"LZ4": "lz4_raw"}.get(compression, compression).lower())
    return bytes(codec.decompress(packed, decompressed_size=size, asbytes=True))


def _longest(plain: bytes) -> int:
    """The greatest of the lengths before the texts."""
    place, longest = 0, 0
    while place + 4 <= len(plain):
        length = int.from_bytes(plain[place : place + 4], "little")
        longest, place = max(longest, length), place + 4 + length
    if place != len(plain):
        raise ValueError("no list of texts")
    return longest
