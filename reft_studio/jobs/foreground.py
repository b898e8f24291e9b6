"""The work of a job done in the process that asked for it, in front of whoever waits for it: the way of the command line and of scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from reft_studio.jobs.kinds import job_function
from reft_studio.progress import Progress, Silent
from reft_studio.workspace import Workspace


class Told(Progress, Protocol):
    """Whoever is told how far the work is. `expect`: as in JobContext."""

    def expect(self, seconds: float | None) -> None: ...


class ForegroundContext:
    """The context of such work: a workspace, and whoever is told; nobody unless named. Keeps the warnings."""

    job_id = "console"
    anew = False

    def __init__(self, workspace: Workspace, told: Told | None = None) -> None:
        self.workspace = workspace
        self.warnings: list[str] = []
        self._told: Told = told or Silent()

    def stage(self, name: str, index: int, count: int) -> None:
        self._told.stage(name, index, count)

    def progress(self, done: int, total: int, **metrics: float) -> None:
        self._told.progress(done, total, **metrics)

    def expect(self, seconds: float | None) -> None:
        self._told.expect(seconds)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self._told.warn(message)

    def tell(self, kind: str, **values: Any) -> None:
        self._told.tell(kind, **values)

    def check(self) -> None:
        """Ctrl-C raises KeyboardInterrupt by itself; nothing else cancels such work unless whoever is told does."""
        self._told.check()


@dataclass(frozen=True)
class Foreground:
    """Work in one workspace without its queue."""

    workspace: Workspace

    def do(self, kind: str, params: dict[str, Any], told: Told) -> dict[str, Any]:
        """Do the work of a kind of job now; its result. What the work needs, such as torch, is imported now."""
        return job_function(kind)(ForegroundContext(self.workspace, told), params)
