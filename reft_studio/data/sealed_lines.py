"""Lines of JSON that know whether they are whole: each ends in the CRC-32 of the rest, and one is appended in one write."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reft_studio.failpoints import torn_at
from reft_studio.workspace import disk_error

_CRC = b', "crc": "'


def encode(value: dict[str, Any]) -> bytes:
    """One line: the object as JSON whose last key is the CRC-32 (8 hex digits) of the JSON without it."""
    text = json.dumps(value, allow_nan=False).encode("ascii")
    return text[:-1] + _CRC + b'%08x"}\n' % zlib.crc32(text)


def decode(line: bytes) -> dict[str, Any] | None:
    """The object in a line (without its line break, its CRC left out), or None if the line is damaged."""
    text, found, rest = line.rpartition(_CRC)
    text += b"}"
    if not found or rest != b'%08x"}' % zlib.crc32(text):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def append(path: Path, values: list[dict[str, Any]]) -> None:
    """Add lines at the end, making the file and its folder if need be. Raises PrerequisiteError if the disk is full."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(file).st_size
            torn = size and os.pread(file, 1, size - 1) != b"\n"  # a writer died in its line: only that one is lost
            data = (b"\n" if torn else b"") + b"".join(map(encode, values))
            torn_at("lines.torn", file, data)
            if os.write(file, data) < len(data):
                raise OSError(28, os.strerror(28))
        finally:
            os.close(file)
    except OSError as exc:
        raise disk_error(path, exc) from exc


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines in order; damaged ones are left out. No file: nothing."""
    if path.is_file():
        with path.open("rb") as file:
            for line in file:
                if (value := decode(line.rstrip(b"\n"))) is not None:
                    yield value
