"""Who holds the accelerator: a lock that training and the chat host take in turn, released by the system if its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from reft_studio.errors import PrerequisiteError
from reft_studio.workspace import Workspace

FILE = "device.lock"
_POLL_S = 0.1


@dataclass(frozen=True)
class Holder:
    """What has the device, e.g. "training run 3f2a", and since when (seconds since the epoch)."""

    what: str
    pid: int
    since: float


@contextmanager
def hold(workspace: Workspace, what: str, *, wait_s: float = 0.0, check: Callable[[], None] = lambda: None) -> Iterator[Holder]:
    """Hold the device while the block runs.

    Waits up to `wait_s` for another holder, calling `check` (which may raise) meanwhile; then raises PrerequisiteError that names it.
    """
    end = time.monotonic() + wait_s
    file = os.open(_path(workspace), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _lock(file):
            if time.monotonic() >= end:
                raise _busy(holder(workspace))
            check()
            time.sleep(_POLL_S)
        mine = Holder(what, os.getpid(), time.time())
        os.truncate(file, 0)
        os.pwrite(file, json.dumps(asdict(mine)).encode(), 0)
        yield mine
        os.truncate(file, 0)
    finally:
        os.close(file)  # also unlocks


def holder(workspace: Workspace) -> Holder | None:
    """Who holds the device now; None if nobody does."""
    try:
        file = os.open(_path(workspace), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        if _lock(file, shared=True):
            return None
        return _read(os.read(file, 4096))
    finally:
        os.close(file)


def _path(workspace: Workspace) -> Path:
    return workspace.root / FILE


def _lock(file: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(text: bytes) -> Holder:
    try:
        return Holder(**json.loads(text))
    except (ValueError, TypeError):  # read between the lock and the name
        return Holder("another process", 0, time.time())


def _busy(found: Holder | None) -> PrerequisiteError:
    what = f"{found.what} (process {found.pid})" if found and found.pid else "another process"
    return PrerequisiteError(f"The device is in use by {what}. Wait until it has ended, or stop it.")
