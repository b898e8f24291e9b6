"""Text files that are parts of one table, joined in order into one file of UTF-8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from reft_studio.data.formats.detect import detect
from reft_studio.data.formats.format import DataFile
from reft_studio.errors import DataError

ENOUGH = 4 << 20
"""Bytes of the first files that are joined to look at a table."""


def join(files: Sequence[Path], target: Path, step: Callable[[int, int], None]) -> Path:
    """The files one after another as UTF-8: JSON as JSON Lines, tables below the first one's header. An empty part adds nothing.

    `step` gets files begun of all, and may raise to cancel. Raises DataError if a part is of another kind or has other columns.
    """
    first: DataFile | None = None
    with target.open("wb") as out:
        for place, path in enumerate(files):
            step(place, len(files))
            if path.stat().st_size == 0:
                continue
            file = detect(path)
            first = first or file
            if file.format.family != first.format.family:
                raise DataError(f"{path.name} is of another kind than the parts before it. Import the parts one by one.")
            file.format.append(file, first, out)
    if first is None:
        raise DataError(f"{files[0].name} and its other parts are empty. Choose another part.")
    step(len(files), len(files))
    return target


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
