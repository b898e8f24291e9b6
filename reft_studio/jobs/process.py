"""Identifies a process across restarts of the app, even if its process id is reused."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process id with its start time (on Linux: boot id and clock ticks since boot)."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process with this id; None if there is none, or only its exit status is left (a zombie)."""
        born = _born_linux(pid) if sys.platform == "linux" else _born_elsewhere(pid)
        return None if born is None else cls(pid, born)

    @classmethod
    def current(cls) -> Process:
        """The calling process."""
        process = cls.of(os.getpid())
        return process or cls(os.getpid(), "unknown")

    @classmethod
    def parse(cls, text: str) -> Process:
        """The inverse of `str`."""
        pid, _, born = text.partition("@")
        return cls(int(pid), born)

    def __str__(self) -> str:
        return f"{self.pid}@{self.born}"

    def alive(self) -> bool:
        """True while this very process runs (stopped counts as running)."""
        return Process.of(self.pid) == self

    def terminate(self) -> None:
        """Ask it to stop. Does nothing if it is gone."""
        if self.alive():
            _send(self.pid, signal.SIGTERM, group=False)

    def kill(self) -> None:
        """Kill it, and all processes of its group (a worker leads its own)."""
        if self.alive():
            _send(self.pid, signal.SIGKILL, group=os.getpgid(self.pid) == self.pid)


def _send(pid: int, number: int, *, group: bool) -> None:
    try:
        os.killpg(pid, number) if group else os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended by itself in between, which is what was wanted


def _born_linux(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name in brackets before may hold anything
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"


def _born_elsewhere(pid: int) -> str | None:
    psutil = import_module("psutil")
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None
