"""Runs the work of a job in the calling process, in the foreground: for the command line and scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from reft_studio.jobs.kinds import job_function
from reft_studio.progress import Progress, Silent
from reft_studio.workspace import Workspace


class ProgressReceiver(Progress, Protocol):
    """Receives the progress of the work. `expect`: as in JobContext."""

    def expect(self, seconds: float | None) -> None: ...


class ForegroundContext:
    """The context of such work: a workspace, and a receiver of progress; silent by default. Collects the warnings."""

    job_id = "console"
    anew = False

    def __init__(self, workspace: Workspace, receiver: ProgressReceiver | None = None) -> None:
        self.workspace = workspace
        self.warnings: list[str] = []
        self._receiver: ProgressReceiver = receiver or Silent()

    def stage(self, name: str, index: int, count: int) -> None:
        self._receiver.stage(name, index, count)

    def progress(self, done: int, total: int, **metrics: float) -> None:
        self._receiver.progress(done, total, **metrics)

    def expect(self, seconds: float | None) -> None:
        self._receiver.expect(seconds)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self._receiver.warn(message)

    def tell(self, kind: str, **values: Any) -> None:
        self._receiver.tell(kind, **values)

    def check(self) -> None:
        """Ctrl-C raises KeyboardInterrupt by itself; nothing else cancels such work unless the receiver of progress does."""
        self._receiver.check()


@dataclass(frozen=True)
class Foreground:
    """Runs work in one workspace without its queue."""

    workspace: Workspace

    def do(self, kind: str, params: dict[str, Any], receiver: ProgressReceiver) -> dict[str, Any]:
        """Run the work of a kind of job and return its result. Its dependencies, such as torch, are imported now."""
        return job_function(kind)(ForegroundContext(self.workspace, receiver), params)
