"""What the packed buffers of an Arrow stream say they unpack to, read from its messages before Arrow unpacks any of them.

A message's metadata is a FlatBuffers table; only the fields that matter here are read. Source: Message.fbs of the Arrow format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2
_BUFFER = struct.Struct("<qq")


def unpacked_sizes(source: Any) -> Iterator[tuple[int, int]]:
    """Of each batch in the stream that begins at the place of `source`: bytes it takes in the file, and bytes it says it unpacks to.

    Raises pa.ArrowInvalid if a message is damaged.
    """
    for message in pa.ipc.MessageReader.open_stream(source):
        body = message.body
        if body is not None:
            try:
                yield body.size, _claimed(memoryview(message.metadata), memoryview(body))
            except (struct.error, IndexError, ValueError) as exc:
                raise pa.ArrowInvalid("a damaged message") from exc


def _claimed(metadata: memoryview, body: memoryview) -> int:
    root = struct.unpack_from("<I", metadata)[0]
    kind, header = _field(metadata, root, 1), _field(metadata, root, 2)
    if kind is None or header is None:
        return len(body)
    batch = _follow(metadata, header)
    if metadata[kind] == _DICTIONARY_BATCH and (data := _field(metadata, batch, 1)) is not None:
        batch = _follow(metadata, data)
    elif metadata[kind] != _RECORD_BATCH:
        return len(body)
    buffers = _field(metadata, batch, 2)
    if _field(metadata, batch, 3) is None or buffers is None:  # not packed
        return len(body)
    vector = _follow(metadata, buffers)
    total = 0
    for place in range(struct.unpack_from("<I", metadata, vector)[0]):
        start, length = _BUFFER.unpack_from(metadata, vector + 4 + place * _BUFFER.size)
        if length >= 8:
            claimed = struct.unpack_from("<q", body, start)[0]  # before each packed buffer; -1 if it is not packed after all
            total += length if claimed < 0 else claimed
    return total


def _field(data: memoryview, table: int, number: int) -> int | None:
    """Where a field of a table is, None if it has its default."""
    fields = table - struct.unpack_from("<i", data, table)[0]
    place = 4 + 2 * number
    if fields < 0 or place >= struct.unpack_from("<H", data, fields)[0]:
        return None
    offset = struct.unpack_from("<H", data, fields + place)[0]
    return table + offset if offset else None


def _follow(data: memoryview, place: int) -> int:
    """Where a reference leads."""
    return int(place + struct.unpack_from("<I", data, place)[0])
