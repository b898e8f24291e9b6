"""Text files that are parts of one table, joined in order into one file: JSON Lines, JSON documents, or tables with one header."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from reft_studio.data.formats.detect import FileLayout, detect
from reft_studio.data.formats.json_stream import elements, outline, text_errors
from reft_studio.data.formats.lines import read_lines
from reft_studio.data.formats.records import csv_header
from reft_studio.errors import DataError

_BREAKS = re.compile(r"[\r\n]+")
ENOUGH = 4 << 20
"""Bytes of the first files that are joined to look at a table."""


def join(files: Sequence[Path], target: Path, step: Callable[[int, int], None]) -> Path:
    """The files one after another as UTF-8: JSON as JSON Lines, tables below the first one's header. An empty part adds nothing.

    `step` gets files begun of all, and may raise to cancel. Raises DataError if a part is of another kind or has other columns.
    """
    first: tuple[Path, FileLayout] | None = None
    with target.open("wb") as out:
        for place, path in enumerate(files):
            step(place, len(files))
            if path.stat().st_size == 0:
                continue
            layout = detect(path)
            if first is None:
                first = path, layout
            elif (first[1].container == "csv") != (layout.container == "csv"):
                raise DataError(f"{path.name} is of another kind than the parts before it. Import the parts one by one.")
            _append(path, layout, first, out)
    if first is None:
        raise DataError(f"{files[0].name} and its other parts are empty. Choose another part.")
    step(len(files), len(files))
    return target


def _append(path: Path, layout: FileLayout, first: tuple[Path, FileLayout], out: BinaryIO) -> None:
    if layout.container == "csv":
        _append_table(path, layout, first, out)
        return
    for text in _lines(path, layout) if layout.container == "jsonl" else _objects(path, layout):
        out.write(text.encode("utf-8", text_errors("utf-8")) + b"\n")


def _lines(path: Path, layout: FileLayout) -> Iterator[str]:
    for line in read_lines(path, layout.encoding, skip=layout.bom, newline=layout.newline):
        text = line.raw.decode(layout.encoding, text_errors(layout.encoding)).strip("\r\n\ufeff")
        yield text.rstrip().removesuffix(",") if layout.commas else text


def _objects(path: Path, layout: FileLayout) -> Iterator[str]:
    where = outline(path, layout.encoding, layout.bom)
    if where.kind == "columns":
        raise DataError(
            f"{path.name} holds one column after another, which cannot be joined with other files. Import the parts one by one."
        )
    for element in elements(path, layout.encoding, layout.bom, where):
        yield _BREAKS.sub(" ", element.text)  # only what ends a line of a file: other separators are text


def _append_table(path: Path, layout: FileLayout, first: tuple[Path, FileLayout], out: BinaryIO) -> None:
    names, raw = csv_header(path, layout)
    if path != first[0]:
        wanted, _ = csv_header(*first)
        if names != wanted:
            raise DataError(f"{path.name} has other columns than the parts before it, or in another order. Import the parts one by one.")
        if layout.escape != first[1].escape and layout.escape and first[1].escape:  # a part without a quote to escape shows none
            raise DataError(f"{path.name} writes quotes in another way than the parts before it. Import the parts one by one.")
        if layout.delimiter != first[1].delimiter:
            raise DataError(f"{path.name} has another separator than the parts before it. Import the parts one by one.")
    else:
        out.write(raw.decode(layout.encoding, text_errors(layout.encoding)).encode("utf-8", text_errors("utf-8")))
    ended = True
    for line in read_lines(path, layout.encoding, skip=layout.bom + len(raw), newline=layout.newline):
        text = line.raw.decode(layout.encoding, text_errors(layout.encoding))
        out.write(text.encode("utf-8", text_errors("utf-8")))
        ended = text.endswith(("\n", "\r"))
    if not ended:
        out.write(b"\n")


def enough_of(files: Sequence[Path]) -> list[Path]:
    """The first files that are enough to look at."""
    chosen: list[Path] = []
    size = 0
    for path in files:
        chosen.append(path)
        size += path.stat().st_size
        if size > ENOUGH:
            break
    return chosen
