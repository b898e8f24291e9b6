"""What is looked at while a run trains: a few answers and scores every so many steps, as lines of JSON. Imports no torch.

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
"""Type of a job's event that is such a line."""
SCORES = ("hs", "over_refusal", "fa")
ROWS = "rows"
"""Type of a job's event that says on how many of the rows a training that begins learns: `rows`, `kept`."""
Line = dict[str, Any]


class StudentCheck(Protocol):
    """Looks at the student after a step of so many, and leaves it, and every random number, as they were."""

    def due(self, step: int, steps: int) -> bool:
        """Whether it is time to."""
        ...

    def look(self, step: int, steps: int, on: Sequence[str] = ()) -> Line | None:
        """What was seen of the student on top of the adapters `on`; None if it failed, which the person was told."""
        ...


class WatchSpec(Settings):
    """How a run is looked at while it trains. No part of what is trained: the run is the same run."""

    every: int | None = Field(None, ge=1, description="steps between two looks; empty: as often as 5 % of the time allows")
    prompts: int = Field(16, ge=0, le=256, description="prompts of each kind, the first of the evaluation's; 0: the model is not asked")
    always: bool = Field(False, description="also where it is slow: on a CPU with a real base")
    suite: dict[str, Any] | None = Field(
        None, description="evaluation suite whose prompts are asked; empty: the one the run is evaluated on"
    )
    report_to: ReportTo = Field("none", description="another program that is told of every step: trackio or wandb, if it is installed")


class Observer:
    """Everybody who looks at one run in training: the person's page, event files, another program.

    What was seen is part of the run's checkpoints, so that a run that goes on has all of it. `folder` keeps event files until the run
    is stored; None keeps none.
    """

    def __init__(
        self, progress: Progress, *, look: StudentCheck | None = None, folder: Path | None = None, reports: Sequence[Report] = ()
    ) -> None:
        self.lines: list[Line] = []
        self._progress, self._look = progress, look
        self._folder = folder / event_file.FOLDER if folder is not None else None
        self._reports = list(reports)
        self._opened = False

    @property
    def seconds(self) -> float:
        """Time spent on looking so far."""
        return float(sum(line["seconds"] for line in self.lines))

    def tell(self, line: Mapping[str, float]) -> None:
        """Report a step that was done."""
        step = int(line["step"])
        if not self._opened and self._folder is not None:
            self._reports.append(EventFile(self._folder, step=step))
        self._opened = True
        self._report(step, {f"train/{name}": value for name, value in line.items() if name not in ("step", "steps")})

    def due(self, line: Mapping[str, float]) -> bool:
        """Whether it is time to look at the student."""
        return self._look is not None and self._look.due(int(line["step"]), int(line["steps"]))

    def look(self, line: Mapping[str, float], on: Sequence[str] = ()) -> None:
        """Look at the student on top of the adapters `on`, and tell what was seen."""
        step = int(line["step"])
        seen = self._look.look(step, int(line["steps"]), on) if self._look is not None else None
        if seen is not None:
            self.lines.append(seen)
            self._progress.tell(EVENT, **seen)
            self._report(step, {f"quick/{name}": seen[name][0] for name in SCORES if seen[name] is not None})

    def state(self) -> dict[str, Any]:
        return {"lines": self.lines}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.lines[:] = state.get("lines", [])
        for line in self.lines:
            self._progress.tell(EVENT, **line)

    def store(self, run: Path) -> None:
        """Put what was seen into the folder of a run that is done; no file if nobody looked."""
        self.close()
        if self.lines:
            (run / FILE).write_text("".join(json.dumps(line) + "\n" for line in self.lines), "utf-8")
        if self._folder is not None and self._folder.is_dir():
            shutil.copytree(self._folder, run / event_file.FOLDER)

    def close(self) -> None:
        """End all reports, and let go of the model that was looked at."""
        self._look = None
        while self._reports:
            self._reports.pop().close()

    def _report(self, step: int, values: Mapping[str, float]) -> None:
        for report in self._reports:
            report.add(step, values)


def read_watch(folder: Path) -> list[Line]:
    """Lines of a finished run, oldest first; none if nobody looked."""
    path = folder / FILE
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
