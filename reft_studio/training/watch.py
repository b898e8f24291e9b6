"""What is recorded while a run trains: sample responses and scores every so many steps, as lines of JSON. Imports no torch.

A line: `{"step": 20, "steps": 160, "seconds": 1.3, "judge": "…", "hs": [value, low, high, n], "over_refusal": […], "fa": […],
"answers": [{"set", "prompt", "answer", "verdict"}]}`; a score is in percent with its 95 % interval, null without such prompts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field

from reft_studio.models.spec import Settings
from reft_studio.progress import Progress
from reft_studio.training import event_file
from reft_studio.training.event_file import EventFile
from reft_studio.training.reporting import Report, ReportTo

FILE = "watch.jsonl"
EVENT = "watch"
"""Event type of a job for such a line."""
SCORES = ("hs", "over_refusal", "fa")
ROWS = "rows"
"""Event type of a job at the start of a training: `rows`, and how many of them are `kept`."""
Line = dict[str, Any]


class StudentCheck(Protocol):
    """Evaluates the student during training, leaving it and every random number generator unchanged."""

    def due(self, step: int, steps: int) -> bool:
        """Whether a check is due after this step."""
        ...

    def check(self, step: int, steps: int, on: Sequence[str] = ()) -> Line | None:
        """The result for the student on top of the adapters `on`; None if the check failed, which was reported to the person."""
        ...


class WatchSpec(Settings):
    """How a run is checked while it trains. Not part of the run's id: the trained weights are the same."""

    every: int | None = Field(None, ge=1, description="steps between two looks; empty: as often as 5 % of the time allows")
    prompts: int = Field(16, ge=0, le=256, description="prompts of each kind, the first of the evaluation's; 0: the model is not asked")
    always: bool = Field(False, description="also where it is slow: on a CPU with a real base")
    suite: dict[str, Any] | None = Field(
        None, description="evaluation suite whose prompts are asked; empty: the one the run is evaluated on"
    )
    report_to: ReportTo = Field("none", description="another program that is told of every step: trackio or wandb, if it is installed")


class Observer:
    """Everything that watches one run in training: the page, event files, an experiment tracker.

    The records are part of the run's checkpoints, so a resumed run has all of them. `folder` keeps event files until the run is stored;
    None keeps none.
    """

    def __init__(
        self, progress: Progress, *, student_check: StudentCheck | None = None, folder: Path | None = None, reports: Sequence[Report] = ()
    ) -> None:
        self.lines: list[Line] = []
        self._progress, self._student_check = progress, student_check
        self._folder = folder / event_file.FOLDER if folder is not None else None
        self._reports = list(reports)
        self._opened = False

    @property
    def seconds(self) -> float:
        """Seconds spent on checks so far."""
        return float(sum(line["seconds"] for line in self.lines))

    def tell(self, line: Mapping[str, float]) -> None:
        """Report a finished step."""
        step = int(line["step"])
        if not self._opened and self._folder is not None:
            self._reports.append(EventFile(self._folder, step=step))
        self._opened = True
        self._report(step, {f"train/{name}": value for name, value in line.items() if name not in ("step", "steps")})

    def due(self, line: Mapping[str, float]) -> bool:
        """Whether a check of the student is due."""
        return self._student_check is not None and self._student_check.due(int(line["step"]), int(line["steps"]))

    def check(self, line: Mapping[str, float], on: Sequence[str] = ()) -> None:
        """Check the student on top of the adapters `on`, and report the result."""
        step = int(line["step"])
        result = self._student_check.check(step, int(line["steps"]), on) if self._student_check is not None else None
        if result is not None:
            self.lines.append(result)
            self._progress.tell(EVENT, **result)
            self._report(step, {f"quick/{name}": result[name][0] for name in SCORES if result[name] is not None})

    def state(self) -> dict[str, Any]:
        return {"lines": self.lines}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.lines[:] = state.get("lines", [])
        for line in self.lines:
            self._progress.tell(EVENT, **line)

    def store(self, run: Path) -> None:
        """Write the records into the folder of a finished run; no file if there are none."""
        self.close()
        if self.lines:
            (run / FILE).write_text("".join(json.dumps(line) + "\n" for line in self.lines), "utf-8")
        if self._folder is not None and self._folder.is_dir():
            shutil.copytree(self._folder, run / event_file.FOLDER)

    def close(self) -> None:
        """Close all reports and release the model."""
        self._student_check = None
        while self._reports:
            self._reports.pop().close()

    def _report(self, step: int, values: Mapping[str, float]) -> None:
        for report in self._reports:
            report.add(step, values)


def read_watch(folder: Path) -> list[Line]:
    """Lines of a finished run, oldest first; empty if none were recorded."""
    path = folder / FILE
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
