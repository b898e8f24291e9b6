"""The lines of a text file as bytes and text, whatever its encoding; one broken line never breaks the next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAX_ROW_BYTES = 8 << 20
"""A row longer than this is set aside: no model reads it, and parsing it would take many times its size in memory."""
BLOCK = 1 << 20


class TextLine(NamedTuple):
    """One line; `raw` holds its line end, so that joining all `raw` gives the file."""

    number: int
    """Counted from 1."""
    raw: bytes
    text: str
    damage: str
    """Why the text is not what the bytes say, or ""."""


def read_lines(path: Path, encoding: str, *, skip: int = 0, newline: str = "\n", end: int | None = None) -> Iterator[TextLine]:
    """Every line after the first `skip` bytes (a byte order mark); with `end`, those that begin before this place."""
    for number, (raw, whole) in enumerate(raw_lines(path, encoding, skip=skip, newline=newline, end=end), start=1):
        yield line_of(number, raw, encoding) if whole else TextLine(number, raw, "", f"the line is longer than {MAX_ROW_BYTES >> 20} MiB")


def raw_lines(path: Path, encoding: str, *, skip: int = 0, newline: str = "\n", end: int | None = None) -> Iterator[tuple[bytes, bool]]:
    """The same lines as bytes, and whether each is whole; of one that is too long there is only the beginning."""
    mark = newline.encode(encoding)
    with path.open("rb") as file:
        file.seek(skip)
        yield from _narrow(file, end) if mark == b"\n" else _wide(file, mark)


def line_of(number: int, raw: bytes, encoding: str) -> TextLine:
    """A line as text, with what is wrong with it."""
    if len(raw) > MAX_ROW_BYTES and not raw.endswith(b"\n", 0, MAX_ROW_BYTES + 1):
        return TextLine(number, raw[:BLOCK], "", f"the line is longer than {MAX_ROW_BYTES >> 20} MiB")
    try:
        return TextLine(number, raw, raw.decode(encoding), "")
    except UnicodeDecodeError:
        return TextLine(number, raw, raw.decode(encoding, "replace"), f"bytes that are not valid {encoding}")


def _narrow(file: BinaryIO, end: int | None) -> Iterator[tuple[bytes, bool]]:
    """Lines ended by one byte; of a line that is too long only the beginning is kept."""
    while (end is None or file.tell() < end) and (raw := file.readline(MAX_ROW_BYTES + 1)):
        whole = len(raw) <= MAX_ROW_BYTES or raw.endswith(b"\n")
        tail = raw
        while not tail.endswith(b"\n") and len(tail) > 0 and not whole:
            tail = file.readline(BLOCK)
        yield (raw, True) if whole else (raw[:BLOCK], False)


def _wide(file: BinaryIO, end: bytes) -> Iterator[tuple[bytes, bool]]:
    """Lines ended by `end` at a multiple of its length (UTF-16, UTF-32, or a lone carriage return)."""
    pending, too_long = b"", b""
    while block := file.read(BLOCK):
        pending += block
        start = 0
        while (found := _aligned(pending, end, start)) >= 0:
            raw, start = pending[start : found + len(end)], found + len(end)
            yield (too_long, False) if too_long else (raw, True)
            too_long = b""
        pending = pending[start:]
        if len(pending) > MAX_ROW_BYTES:
            too_long = too_long or pending[:BLOCK]
            pending = pending[len(pending) - len(pending) % len(end) :]
    if pending or too_long:
        yield (too_long, False) if too_long else (pending, True)


def _aligned(text: bytes, end: bytes, start: int) -> int:
    found = text.find(end, start)
    while found >= 0 and found % len(end):
        found = text.find(end, found + 1)
    return found


def line_end(text: str) -> str:
    """The line break that a line ends in."""
    return text[len(text.rstrip("\r\n")) :]


def damage_hint(damage: str) -> str:
    """What to do about a line that is not what its bytes say."""
    return "Save the file as UTF-8." if "bytes" in damage else "Split or shorten the row."
