"""How long the texts in the dictionaries of a Parquet file are: a few bytes there can stand for gigabytes of rows."""

from __future__ import annotations

from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

DICTIONARY_PAGE = 2
SMALL = 64 << 10
"""Bytes of a dictionary that is not looked into: none of its texts can be longer."""
LARGE = 16 << 20
"""Bytes of a dictionary that is not unpacked."""
HEADER = 64


class Page(NamedTuple):
    """The beginning of a page: its kind, its bytes unpacked and packed, and those of the header."""

    kind: int
    size: int
    packed: int
    header: int


def longest_entry(file: BinaryIO, column: Any) -> int:
    """A bound in bytes on the texts in the dictionary of a column in one row group; 0 if there is none.

    `column` is the metadata of that column. Where the pages cannot be read here, its whole unpacked size is the bound.
    """
    start = column.data_page_offset
    if column.dictionary_page_offset is not None and 0 < column.dictionary_page_offset < start:
        start = column.dictionary_page_offset
    try:
        file.seek(start)
        page = page_header(file.read(HEADER))
        if page.kind != DICTIONARY_PAGE:
            return 0
        if page.size <= SMALL or page.size > LARGE:
            return page.size
        file.seek(start + page.header)
        packed = file.read(page.packed)
        return _longest(packed if column.compression == "UNCOMPRESSED" else _unpacked(packed, column.compression, page.size))
    except (ValueError, OSError, IndexError, OverflowError, pa.ArrowException):
        return max(int(column.total_uncompressed_size), SMALL)


def page_header(data: bytes) -> Page:
    """Read the header of a page (Thrift, compact protocol) as far as it matters. Raises ValueError if it is of another form."""
    fields, place = [], 0
    for _ in range(3):
        if data[place] != _NEXT_INT:
            raise ValueError("no page header")
        number, place = _varint(data, place + 1)
        fields.append((number >> 1) ^ -(number & 1))
    if fields[0] == DICTIONARY_PAGE:
        place = _end(data, place)
    return Page(fields[0], fields[1], fields[2], place)


_NEXT_INT = 0x15
_BOOLEANS = (0x11, 0x12)


def _end(data: bytes, place: int) -> int:
    """The place after the header of a dictionary page: a checksum or none, and a structure of numbers and a boolean."""
    if data[place] == _NEXT_INT:
        _, place = _varint(data, place + 1)
    if data[place] not in (0x3C, 0x4C):
        raise ValueError("no header of a dictionary")
    place += 1
    while data[place]:
        if data[place] == _NEXT_INT:
            _, place = _varint(data, place + 1)
        elif data[place] in _BOOLEANS:
            place += 1
        else:
            raise ValueError("an unknown field")
    if data[place : place + 2] != b"\0\0":
        raise ValueError("an unknown field")
    return place + 2


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
