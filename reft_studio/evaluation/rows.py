"""Rows of a file as they are, by column name: in any file format, packed with gzip or xz or not."""

from __future__ import annotations

import gzip
import lzma
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reft_studio.data.formats import by_ending, endings
from reft_studio.data.formats.detect import detect
from reft_studio.errors import DataError

_OPEN: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".xz": lzma.open}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Every row, in order. Raises DataError if the file is not there, of another kind or damaged."""
    if not path.is_file():
        told = "is a folder, not a file" if path.is_dir() else "is not there"
        raise DataError(f"{path} {told}. Give the path of the file.")
    packed = _OPEN.get(path.suffix)
    if by_ending(path.stem if packed else path.name) is None:
        raise DataError(f"{path.name} has an ending that is not read here. Use {', '.join(endings())}.")
    if packed is None:
        return _rows(path)
    with TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        try:
            with packed(path) as source, plain.open("wb") as target:
                shutil.copyfileobj(source, target)
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as exc:
            raise DataError(f"{path.name} cannot be unpacked ({type(exc).__name__}). Save or download it again.") from exc
        return _rows(plain)


def _rows(path: Path) -> list[dict[str, Any]]:
    file, named = detect(path), by_ending(path.name)
    if named is not None and file.format.family != named.family:
        raise DataError(f"{path.name} is no {named.label}, as its ending says, but {file.format.label}. Save or download it again.")
    rows = []
    for record in file.format.records(file):
        if record.error:
            raise DataError(f"{path.name}, {file.format.unit} {record.line}: {record.error}. {record.hint}".strip())
        if not isinstance(record.value, dict):
            raise DataError(f"{path.name}, {file.format.unit} {record.line}: every row must be an object with the columns as keys.")
        rows.append(record.value)
    return rows
