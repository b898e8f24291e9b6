"""The lease of a device: a lock that jobs and the chat host hold in turn, released by the system if its holder dies."""

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

_POLL_S = 0.1
CHAT = "Chat"
"""Holder of a device while chat has models loaded."""


@dataclass(frozen=True)
class Holder:
    """The holder of a device, e.g. "SST-2, Ref-Teacher" or "Chat", its job if it is one, and since when (seconds since the epoch)."""

    what: str
    pid: int
    since: float
    job: str | None = None


@contextmanager
def hold(
    workspace: Workspace,
    device: str,
    what: str,
    *,
    job: str | None = None,
    wait_s: float = 0.0,
    waiting: Callable[[Holder | None], None] = lambda holder: None,
) -> Iterator[Holder]:
    """Hold the lease of the device during the block.

    Waits up to `wait_s` for another holder, calling `waiting` with it meanwhile (which may raise); then raises PrerequisiteError that
    names it. Waiters are served in order: a job that gave way does not take it back at once.
    """
    end = time.monotonic() + wait_s

    def wait() -> None:
        if time.monotonic() >= end:
            raise _busy(holder(workspace, device))
        waiting(holder(workspace, device))
        time.sleep(_POLL_S)

    file = os.open(_path(workspace, device), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with _turn(workspace, device, wait):
            while not _lock(file):
                wait()
        own = Holder(what, os.getpid(), time.time(), job)
        os.truncate(file, 0)
        os.pwrite(file, json.dumps(asdict(own)).encode(), 0)
        yield own
        os.truncate(file, 0)
    finally:
        os.close(file)  # also unlocks


@contextmanager
def _turn(workspace: Workspace, device: str, wait: Callable[[], None]) -> Iterator[None]:
    """First position in the queue of waiters."""
    file = os.open(_path(workspace, f"{device}-next"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _lock(file):
            wait()
        yield
    finally:
        os.close(file)


def holder(workspace: Workspace, device: str) -> Holder | None:
    """The current holder of the device; None if it is free."""
    try:
        file = os.open(_path(workspace, device), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        if _lock(file, shared=True):
            return None
        return _read(os.read(file, 4096))
    finally:
        os.close(file)


def _path(workspace: Workspace, device: str) -> Path:
    return workspace.root / f"device-{device.replace(':', '-')}.lock"


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


def _busy(current: Holder | None) -> PrerequisiteError:
    what = f"{current.what} (process {current.pid})" if current and current.pid else "another process"
    return PrerequisiteError(f"The device is in use by {what}. Wait until it has ended, or stop it.")
