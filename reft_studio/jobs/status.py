"""A worker's status: one small file, replaced atomically, plus a reserved one for a full disk."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from reft_studio.errors import PrerequisiteError
from reft_studio.jobs.process import Process
from reft_studio.workspace import write_atomic, write_json

FILE = "status.json"
LAST_WORDS = "last-words.json"
CONTROL = "control.json"
HEARTBEAT = "heartbeat"
_RESERVED = 8192
"""Bytes reserved on disk when a worker starts, so that it can report an error when the disk is full."""


@dataclass(frozen=True)
class Status:
    """State of one attempt. `state` is running, or how it ended; times are seconds since the epoch.

    Besides the states of a job it can be "yielded" (it let chat have its device) and "interrupted" (the system stopped it). `waiting`
    says what a running one waits for; `wait_at` and `wait_free` are those of the job table.
    """

    attempt: int
    pid: int
    born: str
    state: str = "running"
    stage: str = ""
    stage_index: int = 0
    stage_count: int = 0
    done: int = 0
    total: int = 0
    rate: float | None = None
    eta_s: float | None = None
    started: float = 0.0
    finished: float | None = None
    message: str = ""
    result: dict[str, Any] | None = None
    waiting: str = ""
    wait_at: str | None = None
    wait_free: int | None = None

    @property
    def process(self) -> Process:
        return Process(self.pid, self.born)

    @property
    def ended(self) -> bool:
        return self.state != "running"


def prepare(folder: Path) -> None:
    """Reserve the file for the last status, and begin the heartbeat."""
    write_atomic(folder / LAST_WORDS, b"\0" * _RESERVED)
    write_atomic(folder / HEARTBEAT, b"")


def write_status(folder: Path, status: Status) -> None:
    """Replace the status. If the disk is full, a final one goes into the reserved file; a running one raises."""
    try:
        write_json(folder / FILE, asdict(status))
    except PrerequisiteError:
        if not status.ended:
            raise
        _write_last_words(folder, status)


def read_status(folder: Path, attempt: int) -> Status | None:
    """The status of this attempt; None if its worker has not written one yet."""
    statuses = [status for name in (FILE, LAST_WORDS) if (status := _read(folder / name)) and status.attempt == attempt]
    return max(statuses, key=lambda status: status.ended) if statuses else None


def write_control(folder: Path, command: str) -> None:
    """Leave a command for the worker, which polls every second, and at once when signalled."""
    write_json(folder / CONTROL, {"command": command, "at": time.time()})


def asked(folder: Path) -> str:
    """The command for this job: cancel, pause, yield or stop; empty if none."""
    try:
        return str(json.loads((folder / CONTROL).read_bytes())["command"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError):
        return "cancel"  # something was asked, and stopping loses the least


def beat(folder: Path) -> None:
    """Heartbeat: touches a file, which needs no disk space."""
    os.utime(folder / HEARTBEAT)


def last_beat(folder: Path) -> float | None:
    """Time of the last heartbeat; None if there was none yet."""
    try:
        return (folder / HEARTBEAT).stat().st_mtime
    except OSError:
        return None


def silent_for(folder: Path, now: float) -> float:
    """Seconds since the last heartbeat; 0 if there was none yet."""
    beat = last_beat(folder)
    return 0.0 if beat is None else max(0.0, now - beat)


def _write_last_words(folder: Path, status: Status) -> None:
    slim = replace(status, stage=status.stage[:100], message=status.message[:1000], result=None)
    text = json.dumps(asdict(slim)).encode("ascii")[:_RESERVED]
    with (folder / LAST_WORDS).open("r+b") as file:
        file.write(text.ljust(_RESERVED))
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> Status | None:
    try:
        text = path.read_bytes().strip(b"\0 \n")
        return Status(**json.loads(text)) if text else None
    except (OSError, ValueError, TypeError):
        return None  # not there yet, or of another version: the same as no news
