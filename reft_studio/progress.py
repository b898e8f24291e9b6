"""How long work tells what it has done, and learns that it was cancelled; the worker process gives the real one."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """`check` raises when the work was cancelled; `progress` does so too."""

    def stage(self, name: str, index: int, count: int) -> None: ...
    def progress(self, done: int, total: int, **metrics: float) -> None: ...
    def warn(self, message: str) -> None: ...
    def check(self) -> None: ...


class Silent:
    """Progress nobody watches, for scripts and tests; keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def stage(self, name: str, index: int, count: int) -> None:
        """Nothing to show."""

    def progress(self, done: int, total: int, **metrics: float) -> None:
        """Nothing to show."""

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def check(self) -> None:
        """Never cancelled."""
