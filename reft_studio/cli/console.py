"""Progress and results in a terminal: the same jobs as on the pages, run in this process or awaited from the queue."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from reft_studio.errors import PrerequisiteError
from reft_studio.jobs.eta import ExpectedTime, StageRate
from reft_studio.stats import Estimate
from reft_studio.workspace import write_atomic

if TYPE_CHECKING:
    from reft_studio.studio.evaluations import EvaluationResult

QUIET_S = 30.0
"""Where there is no terminal, work says at least this often how far it is."""


class Console:
    """Progress that writes one changing line to a terminal; without one a line a stage, and another every `QUIET_S` seconds."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._stage, self._rate, self._shown = "", StageRate(), 0.0
        self._expected = ExpectedTime()
        self._live = sys.stderr.isatty()

    def stage(self, name: str, index: int, count: int) -> None:
        self._stage, self._rate = f"[{index}/{count}] {name}", StageRate()
        self._shown = monotonic() if not self._live else self._shown
        self._write(self._stage, end="" if self._live else "\n")

    def progress(self, done: int, total: int, **metrics: float) -> None:
        now = monotonic()
        self._rate.add(now, done, total)
        if now - self._shown < (0.2 if self._live else QUIET_S):
            return
        self._shown = now
        share = done / total if total else 0.0
        eta_s = self._expected.eta_s(now, self._rate)
        left = f", {eta_s:.0f} s left" if eta_s is not None else ""
        loss = f", loss {metrics['loss']:.3f}" if "loss" in metrics else ""
        self._write(f"{self._stage}  {share:.0%}{left}{loss}", end="" if self._live else "\n")

    def expect(self, seconds: float | None) -> None:
        self._expected.say(monotonic(), seconds)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self._write(f"Note: {message}", end="\n")

    def tell(self, kind: str, **values: Any) -> None:
        """A terminal shows no findings."""

    def check(self) -> None:
        """Ctrl-C raises KeyboardInterrupt by itself; nothing else cancels work in a terminal."""

    def done(self) -> None:
        """End the changing line."""
        if self._live:
            self._write("", end="")

    def _write(self, text: str, *, end: str) -> None:
        sys.stderr.write(("\r\033[2K" if self._live else "") + text + end)
        sys.stderr.flush()


@dataclass(frozen=True)
class Output:
    """Where the result of a verb goes: JSON to standard output instead of lines for people, JSON to a file besides."""

    as_json: bool = False
    file: Path | None = None


_OUTPUT: ContextVar[Output] = ContextVar("output", default=Output())  # noqa: B039  it cannot be changed


@contextmanager
def output(wanted: Output) -> Iterator[None]:
    """Let `show` and `keep` do as wanted. Raises PrerequisiteError before any work if the file could not be written."""
    writable(wanted.file)
    before = _OUTPUT.set(wanted)
    try:
        yield
    finally:
        _OUTPUT.reset(before)


def show(value: Any, text: Callable[[], str]) -> None:
    """Print a result: JSON for machines if that is wanted, else a few lines for people; and write it to the file that is wanted."""
    keep(value)
    sys.stdout.write(_json(value) if _OUTPUT.get().as_json else text() + "\n")


def keep(value: Any) -> None:
    """Write what is known of a result so far to the file that is wanted, if one is; whole or not at all."""
    if (file := _OUTPUT.get().file) is not None:
        save(file, _json(value))


def save(path: Path, content: bytes | str) -> None:
    """Write a file of the user's, whole or not at all."""
    write_atomic(path, content)


def kept_beside(suffix: str) -> Path | None:
    """A name beside that file with another ending; None if no file is wanted."""
    file = _OUTPUT.get().file
    return file and file.with_suffix(suffix)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, default=str) + "\n"


def writable(path: Path | None) -> None:
    """Raises PrerequisiteError if a file could not be written here: better known before the work than after it."""
    if path is None:
        return
    if path.is_dir():
        raise PrerequisiteError(f"{path} is a folder. Name a file in it.")
    folder = path.absolute().parent
    if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise PrerequisiteError(f"{folder} is no folder that can be written to. Choose another place for {path.name}.")


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


def share(estimate: Estimate | None, *, interval: bool = True) -> str:
    """A share in percent with its interval; a dash where there is none."""
    if estimate is None:
        return "-"
    return f"{estimate.value:.1f}" + (f" [{estimate.low:.1f}, {estimate.high:.1f}]" if interval else "")


def score_line(result: EvaluationResult) -> str:
    """All shares of a result in a line: the three verdicts on harmful prompts first."""
    harmful = f"HS (complied) {share(result.hs)}, not refused {share(result.not_refused, interval=False)}"
    three = f"{harmful}, refused {share(result.refused)}, other {share(result.other)}"
    lenient = f" (lenient {share(result.fa_lenient)})" if result.fa_lenient else ""
    return f"{three}; over-refusal {share(result.over_refusal)}, FA {share(result.fa)}{lenient}"
