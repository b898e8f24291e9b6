"""The event file of a job: one JSON object per line, each with a checksum, appended in one write and readable while it grows.

`{"t": 1760000000.5, "type": "metric", "stage": "finetune", "done": 5, "total": 100, "loss": 1.2, "crc": "9ae0daaf"}`; the types are
stage, progress, metric, warning, error, state, and types of the work itself (`Progress.tell`). A process killed while writing leaves an
incomplete last line, which readers ignore.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from reft_studio.data.sealed_lines import decode, encode
from reft_studio.errors import SpecError
from reft_studio.failpoints import torn_at
from reft_studio.workspace import disk_error

FILE = "events.jsonl"
READ_LIMIT = 8 << 20
"""Maximum bytes per call; the rest is read by the next."""
_log = logging.getLogger(__name__)


class EventWriter:
    """Appends events; one writer at a time."""

    def __init__(self, folder: Path) -> None:
        path = folder / FILE
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")  # ends the line another writer died in, so that only that one is lost
        except OSError as exc:
            raise disk_error(path, exc) from exc
        self._path = path

    def add(self, kind: str, **values: Any) -> None:
        """Append one event. Numbers that are not finite are stored as null. Raises PrerequisiteError if the disk is full."""
        if clash := {"t", "type", "crc"} & values.keys():
            raise SpecError(f"An event cannot have a value called '{clash.pop()}': the file uses the name itself.")
        line = encode({"t": round(time.time(), 3), "type": kind, **{name: _plain(value) for name, value in values.items()}})
        torn_at("event.torn", self._file, line)
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(28, os.strerror(28))  # a disk with room for a part of the line only
        except OSError as exc:
            raise disk_error(self._path, exc) from exc

    def close(self) -> None:
        os.close(self._file)


def read_events(folder: Path, offset: int = 0, *, name: str = FILE) -> tuple[list[dict[str, Any]], int]:
    """Events from byte `offset` on, and the offset to continue from. An incomplete last line is left for the next call.

    Damaged lines are skipped (and counted in the log). No file yet: no events.
    """
    try:
        with (folder / name).open("rb") as file:
            if offset > file.seek(0, os.SEEK_END):
                offset = 0  # a new attempt began a new file
            file.seek(offset)
            data = file.read(READ_LIMIT)
    except FileNotFoundError:
        return [], 0
    lines = data.split(b"\n")
    if len(lines) == 1 and len(data) == READ_LIMIT:
        lines.append(b"")  # no line is that long: skip what cannot be one of ours
    complete = lines[:-1]
    events = [event for line in complete if (event := decode(line)) is not None]
    damaged = len([line for line in complete if line]) - len(events)
    if damaged:
        _log.warning("%s: %d damaged lines left out", folder.name, damaged)
    return events, offset + len(data) - len(lines[-1])


def all_events(folder: Path, *, name: str = FILE) -> list[dict[str, Any]]:
    """Every event of an attempt, oldest first."""
    events, offset = read_events(folder, name=name)
    while True:
        more, end = read_events(folder, offset, name=name)
        if end == offset:
            return events
        events, offset = events + more, end


def earlier_events(folder: Path, kinds: Collection[str]) -> list[dict[str, Any]]:
    """Events of these types from earlier attempts, merged as one run of the job; empty if none of them is a metric."""
    attempts = sorted((int(path.stem.partition("-")[2]), path.name) for path in folder.glob("events-*.jsonl"))
    merged: list[dict[str, Any]] = []
    for _, name in attempts:
        merged = continued(merged, [event for event in all_events(folder, name=name) if event["type"] in kinds])
    return merged if any(event["type"] == "metric" for event in merged) else []


def continued(earlier: list[dict[str, Any]], later: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge two attempts into one run of the job: events of the earlier one after the point where the later one resumed are dropped.

    So are events repeated by the later one before its first metric.
    """
    first = next((index for index, event in enumerate(later) if event["type"] == "metric"), None)
    if first is None:
        return earlier or later
    stage, done = later[first]["stage"], later[first]["done"]
    resumed_at = (
        index for index, event in enumerate(earlier) if event["type"] == "metric" and event["stage"] == stage and event["done"] >= done
    )
    kept = earlier[: next(resumed_at, len(earlier))]
    repeatable = [_content(event) for event in kept]
    return [*kept, *(event for event in later[:first] if _content(event) not in repeatable), *later[first:]]


def _content(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in ("t", "crc")}


def _plain(value: Any) -> Any:
    if isinstance(value, str | bool | int | list | dict) or value is None:
        return value
    number = float(value)  # also NumPy's and torch's scalars
    return number if math.isfinite(number) else None
