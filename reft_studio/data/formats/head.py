"""The beginning of a file as bytes and as text: its encoding, and what is no dataset at all."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from charset_normalizer import from_bytes

from reft_studio.data.formats import allowed
from reft_studio.data.formats.layout import FileLayout
from reft_studio.errors import DataError

HEAD = 256 << 10
"""Bytes at the beginning that decide container and delimiter."""
SCAN = 256 << 20
"""Bytes searched for text outside ASCII, which decides the encoding."""

_BOMS = [
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark begins like it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
]
_MAGIC = [
    (b"PK\x03\x04", "a ZIP archive or an Office workbook (Excel's .xlsx)", "Unpack it, or save the sheet as CSV (UTF-8)."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"BZh", "a bzip2 archive", "Unpack it first."),
    (b"\xfd7zXZ", "an xz archive", "Unpack it first."),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it first."),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", "Unpack it first."),
    (b"FEA1", "a Feather file of the old kind", "Save it as Parquet."),
    (b"\xd0\xcf\x11\xe0", "an old Office file", "Save the sheet as CSV."),
    (b"SQLite format 3", "an SQLite database", "Export the table as CSV or JSON Lines."),
    (b"%PDF", "a PDF", "Export the text as CSV or JSON Lines."),
    (b"\x89PNG", "a picture", "Choose the dataset file."),
    (b"\xff\xd8\xff", "a picture", "Choose the dataset file."),
    (b"\x7fELF", "a program", "Choose the dataset file."),
    (b"\x80\x04\x95", "a Python pickle, which can run code when it is read", "Save the data as JSON Lines or Parquet."),
]
_NO_ROWS = [
    (
        re.compile(r"\s*<(!doctype html|html|head|body)\b", re.IGNORECASE),
        "a web page (HTML)",
        "Download the file itself, not the page about it.",
    ),
    (re.compile(r"version https://git-lfs\.github\.com/spec/"), "a Git LFS pointer, not the file itself", "Fetch it with 'git lfs pull'."),
]
"""Texts that stand where a dataset should be."""
_WIDE = ("utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be")
_CONTROL = bytes(set(range(32)) - {9, 10, 11, 12, 13, 27})


class FileHead:
    """The beginning of a file, as bytes and, where a format asks for it, as text.

    Asked for its text it raises DataError for a file that is compressed, binary or blank.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        """Open, for whoever must read on; at any place."""
        status = os.fstat(file.fileno())
        self.stamp = status.st_size, status.st_mtime_ns
        self.bytes = file.read(HEAD)

    @cached_property
    def _coding(self) -> tuple[int, str]:
        for magic, kind, hint in _MAGIC:
            if self.bytes.startswith(magic):
                raise DataError(f"{self.path.name} is {kind}. {allowed()} {hint}")
        return _encoding(self.path, self.bytes, self.file)

    @cached_property
    def text(self) -> str:
        """Decoded, but for the byte order mark; what the cut at its end left of the last character is dropped."""
        bom, encoding = self._coding
        text = codecs.getincrementaldecoder(encoding)("replace").decode(self.bytes[bom:])
        if not text.strip().strip("\ufeff\0 \t\r\n").strip() and self.stamp[0] <= HEAD:
            raise DataError(f"{self.path.name} holds only blank lines. {allowed()} Choose a file with at least one row.")
        for pattern, kind, hint in _NO_ROWS:
            if pattern.match(text):
                raise DataError(f"{self.path.name} is {kind}. {allowed()} {hint}")
        return text

    @property
    def newline(self) -> str:
        return "\r" if "\r" in self.text and "\n" not in self.text else "\n"

    @cached_property
    def filled(self) -> list[str]:
        """The first 50 lines that are not blank, without the space around them."""
        lines = [line.strip() for line in self.text.strip("\ufeff\0 \t\r\n").splitlines()]
        return [line for line in lines if line][:50]

    def layout(self, container: str, **more: Any) -> FileLayout:
        """The layout of a text of this format."""
        bom, encoding = self._coding
        return FileLayout(container, encoding, bom, newline=self.newline, **more)


@contextmanager
def head_of(path: Path) -> Iterator[FileHead]:
    """The beginning of a file, which is open meanwhile. Raises DataError if it is empty or cannot be opened."""
    if not path.exists():
        raise DataError(f"There is no file {path.name}. Choose an existing file. {allowed()}")
    if not path.is_file():
        raise DataError(f"{path.name} is a folder or a device, not a file. {allowed()}")
    try:
        file = path.open("rb")
    except OSError as exc:
        raise DataError(f"{path.name} cannot be opened ({exc.strerror}). Check who may read it.") from exc
    with file:
        head = FileHead(path, file)
        if not head.bytes:
            raise DataError(f"{path.name} is empty (0 bytes). {allowed()} Choose a file with at least one row.")
        yield head


def _encoding(path: Path, head: bytes, file: BinaryIO) -> tuple[int, str]:
    """Length of the byte order mark, and the codec. Raises DataError for bytes that are no text."""
    for bom, name in _BOMS:
        if head.startswith(bom):
            return len(bom), name
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
        # text without a mark in which every second byte is mostly zero
        if len(zeros) >= 4 and zeros.count(0) > 0.4 * len(zeros) and head.count(0) < 0.7 * len(head):
            return 0, name
    if sum(head.count(byte) for byte in _CONTROL) > max(16, 0.02 * len(head)):
        raise DataError(f"{path.name} is a binary file: its bytes are no text. {allowed()}")
    sample = _beyond_ascii(file)
    broken = sum(not _is_utf8(line) for line in sample)
    # JSON is UTF-8 by its standard (RFC 8259): single bad lines are damage, not another encoding
    tolerated = max(0.5 * len(sample), 3 if head.lstrip()[:1] in (b"{", b"[") else 0)
    if broken <= tolerated:
        return 0, "utf-8"
    return 0, _legacy(path, b"".join(sample))


def _beyond_ascii(file: BinaryIO) -> list[bytes]:
    """Up to 256 KiB of lines that hold bytes outside ASCII, from the first `SCAN` bytes."""
    found: list[bytes] = []
    size, scanned = 0, 0
    file.seek(0)
    while size < HEAD and scanned < SCAN and (block := file.read(1 << 20)):
        scanned += len(block)
        if block.isascii():
            continue
        block += file.readline(HEAD)
        for line in block.splitlines(keepends=True):
            if size < HEAD and not line.isascii():
                found.append(line[:HEAD])
                size += len(line)
    return found


def _is_utf8(line: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(line)
    except UnicodeDecodeError:
        return False
    return True


def _legacy(path: Path, sample: bytes) -> str:
    """An encoding from before Unicode, guessed from the lines outside ASCII."""
    for name in ("cp932", "euc_jp"):
        if _kana_share(sample, name) > 0.2:  # kana make Japanese unmistakable, where statistics need a longer text
            return name
    # a line break in UTF-16 or UTF-32 holds a zero byte; of a few short lines without one these would be guessed all the same
    best = from_bytes(sample[: 64 << 10], cp_exclusion=[] if 0 in sample else list(_WIDE)).best()
    if best is None:
        raise DataError(f"{path.name}: the text encoding is not recognised. Save the file as UTF-8. {allowed()}")
    if re.fullmatch(r"latin_1|iso8859_\d+|mac_\w+|hp_roman8|cp\d{3,4}", best.encoding) and _western(sample):
        return "cp1252"
    return best.encoding


def _kana_share(sample: bytes, encoding: str) -> float:
    """Share of the signs outside ASCII that are hiragana or katakana; 0 if the bytes are not of this encoding."""
    try:
        signs = [sign for sign in codecs.getincrementaldecoder(encoding)().decode(sample) if ord(sign) > 127]
    except UnicodeDecodeError:
        return 0.0
    return sum("\u3041" <= sign <= "\u30fe" for sign in signs) / max(1, len(signs))


def _western(sample: bytes) -> bool:
    """Whether cp1252 reads the bytes as mostly Latin letters and the signs of Western European typing."""
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    signs = [sign for sign in text if ord(sign) > 127]
    words = [word for word in re.findall(r"[^\W\d_]{3,}", text) if not word.isascii()]
    if sum(not re.search("[A-Za-z]", word) for word in words) > 0.05 * len(words):
        return False  # whole words of accented letters: another script, read as if it were Latin
    usual = sum(sign in "äöüßÄÖÜéèêëàâáãåæçîïíìñóòôõøœŒúùûÿÉÈÊÀÂÁÃÅÆÇÎÍÑÓÔÕØÚÙÛ€„“”‘’‚–—…«»¿¡°§£·•™®©½\u00a0" for sign in signs)
    return usual >= 0.9 * len(signs)
