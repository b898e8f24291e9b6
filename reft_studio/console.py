"""Progress and results in a terminal: the same jobs as on the pages, run in this process or awaited from the queue."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reft_studio.workspace import Workspace, write_atomic


class Console:
    """A job context that writes one changing line to a terminal, or a line a stage where there is none."""

    def __init__(self, workspace: Workspace, job_id: str = "console") -> None:
        self.workspace, self.job_id = workspace, job_id
        self.warnings: list[str] = []
        self._stage, self._started, self._shown = "", time.monotonic(), 0.0
        self._live = sys.stderr.isatty()

    def stage(self, name: str, index: int, count: int) -> None:
        self._stage = f"[{index}/{count}] {name}"
        self._write(self._stage, end="" if self._live else "\n")

    def progress(self, done: int, total: int, **metrics: float) -> None:
        now = time.monotonic()
        if not self._live or now - self._shown < 0.2:
            return
        self._shown = now
        share = done / total if total else 0.0
        left = f", {(now - self._started) * (1 - share) / share:.0f} s left" if share > 0.05 else ""
        loss = f", loss {metrics['loss']:.3f}" if "loss" in metrics else ""
        self._write(f"{self._stage}  {share:.0%}{left}{loss}", end="")

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self._write(f"Note: {message}", end="\n")

    def check(self) -> None:
        """Ctrl-C raises KeyboardInterrupt by itself; nothing else cancels work in a terminal."""

    def done(self) -> None:
        """End the changing line."""
        if self._live:
            self._write("", end="")

    def _write(self, text: str, *, end: str) -> None:
        sys.stderr.write(("\r\033[2K" if self._live else "") + text + end)
        sys.stderr.flush()


def show(value: Any, *, as_json: bool, text: Callable[[], str]) -> None:
    """Print a result: JSON for machines, else a few lines for people."""
    sys.stdout.write((json.dumps(value, indent=1, default=str) if as_json else text()) + "\n")


def save_json(path: Path | None, value: Any) -> None:
    """Write a result file, whole or not at all."""
    if path is not None:
        write_atomic(path, json.dumps(value, indent=1, default=str) + "\n")


def table(rows: list[list[str]], header: list[str]) -> str:
    """Plain columns, numbers to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [header, *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)
