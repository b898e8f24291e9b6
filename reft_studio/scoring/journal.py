"""Append-only journal of finished batches' scores; a kill at any moment costs at most one batch."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from reft_studio.failpoints import torn_at
from reft_studio.workspace import disk_error

_HEAD = struct.Struct("<III")  # batch, values, checksum of all


class ScoreJournal:
    """A file of (batch number, float32 values); an incomplete record is truncated when the file is opened."""

    def __init__(self, path: Path) -> None:
        self._path, self.done = path, list[NDArray[np.float32]]()
        data = path.read_bytes() if path.is_file() else b""
        offset = 0
        while (record := _record(data, offset, len(self.done))) is not None:
            values, offset = record
            self.done.append(values)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self._file, offset)
        os.lseek(self._file, 0, os.SEEK_END)

    def append(self, values: NDArray[np.float32]) -> None:
        """Append the next batch. It survives the death of this process; after a crash of the machine, a checksum detects damage.

        Raises PrerequisiteError if the disk is full.
        """
        batch, body = len(self.done), values.astype("<f4").tobytes()
        record = _HEAD.pack(batch, len(values), _checksum(batch, body)) + body
        torn_at("journal.torn", self._file, record)
        try:
            if os.write(self._file, record) < len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as exc:
            raise disk_error(self._path, exc) from exc
        self.done.append(values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._file)


def _record(data: bytes, offset: int, batch: int) -> tuple[NDArray[np.float32], int] | None:
    """The record of `batch` at offset `place` and its end, or None if it is incomplete."""
    if len(data) < offset + _HEAD.size:
        return None
    number, count, checksum = _HEAD.unpack_from(data, offset)
    start = offset + _HEAD.size
    body = data[start : start + 4 * count]
    if number != batch or len(body) != 4 * count or checksum != _checksum(batch, body):
        return None
    return np.frombuffer(body, dtype="<f4").astype(np.float32), start + len(body)


def _checksum(batch: int, body: bytes) -> int:
    return zlib.crc32(body, batch)
