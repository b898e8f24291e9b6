"""What a file is, read from its bytes and never from its name: container, encoding, delimiter, shape of its JSON."""

from __future__ import annotations

import codecs
import csv
import json
import re
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from charset_normalizer import from_bytes

from reft_studio.data.chat.conversation import is_conversation
from reft_studio.data.columns import find_column, known_names
from reft_studio.data.formats.arrow_rows import is_arrow
from reft_studio.data.formats.csv_text import Escape, escape_of, is_spaced, separator_line
from reft_studio.errors import DataError

Container = Literal["jsonl", "json", "csv", "parquet", "arrow"]
HEAD = 256 << 10
"""Bytes at the beginning that decide container and delimiter."""
SCAN = 256 << 20
"""Bytes searched for text outside ASCII, which decides the encoding."""
ALLOWED = "Allowed are JSON Lines, JSON, CSV or TSV, Parquet, and Arrow."

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


@dataclass(frozen=True)
class FileLayout:
    """How the bytes of a file become records. Kept in the manifest, so that an export reads them the same way."""

    container: Container
    encoding: str = ""
    """Name of the Python codec without byte order mark; "" for Parquet."""
    bom: int = 0
    """Length of the byte order mark."""
    delimiter: str = ""
    newline: str = "\n"
    separator_line: bool = False
    """Whether a line before the header names the separator."""
    escape: Escape = ""
    """Of a table: what a backslash escapes."""
    spaced: bool = False
    """Of a table: whether a space after each separator belongs to it, as in `"a", "b"`."""
    commas: bool = False
    """Whether the lines of JSON Lines end in a comma, which is left out when they are written again."""

    @property
    def label(self) -> str:
        """The encoding as people name it, e.g. "utf-8-sig" with a byte order mark."""
        return "utf-8-sig" if self.encoding == "utf-8" and self.bom else self.encoding

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def detect(path: Path) -> FileLayout:
    """The layout of a file. Raises DataError if it is empty, binary, compressed or of another kind."""
    head = _head(path)
    if head.startswith(b"PAR1"):
        return FileLayout("parquet")
    if is_arrow(path, head):
        return FileLayout("arrow")
    for magic, kind, hint in _MAGIC:
        if head.startswith(magic):
            raise DataError(f"{path.name} is {kind}. {ALLOWED} {hint}")
    bom, encoding = _encoding(path, head)
    text = _decoded(head[bom:], encoding)
    newline = "\r" if "\r" in text and "\n" not in text else "\n"
    if not text.strip().strip("\ufeff\0 \t\r\n").strip() and path.stat().st_size <= HEAD:
        raise DataError(f"{path.name} holds only blank lines. {ALLOWED} Choose a file with at least one row.")
    for pattern, kind, hint in _NO_ROWS:
        if pattern.match(text):
            raise DataError(f"{path.name} is {kind}. {ALLOWED} {hint}")
    if named := separator_line(text):
        return FileLayout("csv", encoding, bom, named, newline, True, escape_of(text.partition(newline)[2], named))
    container, commas = _container(path, text)
    if container != "csv":
        return FileLayout(container, encoding, bom, "", newline, commas=commas)
    delimiter = _delimiter(text)
    return FileLayout(container, encoding, bom, delimiter, newline, escape=escape_of(text, delimiter), spaced=is_spaced(text, delimiter))


def _head(path: Path) -> bytes:
    if not path.exists():
        raise DataError(f"There is no file {path.name}. Choose an existing file. {ALLOWED}")
    if not path.is_file():
        raise DataError(f"{path.name} is a folder or a device, not a file. {ALLOWED}")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as exc:
        raise DataError(f"{path.name} cannot be opened ({exc.strerror}). Check who may read it.") from exc
    if not head:
        raise DataError(f"{path.name} is empty (0 bytes). {ALLOWED} Choose a file with at least one row.")
    return head


def _encoding(path: Path, head: bytes) -> tuple[int, str]:
    """Length of the byte order mark, and the codec. Raises DataError for bytes that are no text."""
    for bom, name in _BOMS:
        if head.startswith(bom):
            return len(bom), name
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
        # text without a mark in which every second byte is mostly zero
        if len(zeros) >= 4 and zeros.count(0) > 0.4 * len(zeros) and head.count(0) < 0.7 * len(head):
            return 0, name
    if sum(head.count(byte) for byte in _CONTROL) > max(16, 0.02 * len(head)):
        raise DataError(f"{path.name} is a binary file: its bytes are no text. {ALLOWED}")
    sample = _beyond_ascii(path)
    broken = sum(not _is_utf8(line) for line in sample)
    # JSON is UTF-8 by its standard (RFC 8259): single bad lines are damage, not another encoding
    tolerated = max(0.5 * len(sample), 3 if head.lstrip()[:1] in (b"{", b"[") else 0)
    if broken <= tolerated:
        return 0, "utf-8"
    return 0, _legacy(path, b"".join(sample))


def _beyond_ascii(path: Path) -> list[bytes]:
    """Up to 256 KiB of lines that hold bytes outside ASCII, from the first `SCAN` bytes."""
    found: list[bytes] = []
    size, scanned = 0, 0
    with path.open("rb") as file:
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
        raise DataError(f"{path.name}: the text encoding is not recognised. Save the file as UTF-8. {ALLOWED}")
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


def _decoded(head: bytes, encoding: str) -> str:
    """The beginning as text; what the cut at its end left of the last character is dropped."""
    return codecs.getincrementaldecoder(encoding)("replace").decode(head)


def _container(path: Path, text: str) -> tuple[Container, bool]:
    """The container, and whether it is JSON Lines with a comma after each line."""
    lines = [line.strip() for line in text.strip("\ufeff\0 \t\r\n").splitlines()]
    filled = [line for line in lines if line][:50]
    whole = [_object(line) for line in filled if line.startswith("{")]
    objects = sum(found is not None for found in whole)
    if filled and filled[0].startswith("{") and not filled[0].endswith(("[", "{")):
        listed = [line.removesuffix(",") for line in filled if line.endswith(",")]
        if len(listed) > 1 and sum(_object(line) is not None for line in listed) + objects > 0.5 * len(filled):
            return "jsonl", True
    return _plain_container(path, filled, whole, objects), False


def _plain_container(path: Path, filled: list[str], whole: list[dict[str, Any] | None], objects: int) -> Container:
    if not filled:  # a long beginning of blank lines
        return "csv"
    if filled[0].startswith("["):
        return "jsonl" if len(filled) > 1 and _is_json(filled[0]) and not filled[1].startswith(",") else "json"
    if not filled[0].startswith("{"):
        # a JSONL file may begin with a broken line
        return "jsonl" if objects >= max(2, 0.5 * len(filled)) else "csv"
    if len(filled) > 1:
        return "jsonl" if whole[0] is not None or objects > 0.3 * len(filled) else "json"
    if whole[0] is None:
        return "jsonl" if _has_second_object(path) else "json"
    return "jsonl" if _is_row(whole[0]) else "json"


def _is_row(value: dict[str, Any]) -> bool:
    """Whether an object is a row itself: its prompt is text, or its messages a list of turns."""
    prompt, messages = find_column("prompt", list(value)), find_column("messages", list(value))
    return (prompt is not None and isinstance(value[prompt], str)) or (messages is not None and is_conversation(value[messages]))


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _has_second_object(path: Path) -> bool:
    """Whether a first line that is longer than the head is followed by a line that opens an object."""
    with path.open("rb") as file:
        while (block := file.readline(1 << 20)) and not block.endswith(b"\n"):
            pass
        return file.readline(1 << 10).lstrip().startswith(b"{")


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _delimiter(text: str) -> str:
    """Of comma, semicolon, tab and bar the one that gives known column names, then the most even rows."""
    sample = text[: 64 << 10]

    def quality(delimiter: str) -> tuple[int, float, int]:
        try:
            rows = [row for row in islice(csv.reader(sample.splitlines(keepends=True), delimiter=delimiter), 30) if row]
        except csv.Error:
            return 0, 0.0, 0
        width = len(rows[0]) if rows else 0
        even = sum(len(row) == width for row in rows) / max(1, len(rows))
        return known_names(rows[0]) if width > 1 else 0, even if width > 1 else 0.0, width

    return max(",;\t|", key=quality)
