"""What a step costs beside the training itself: events, status, event files, compared with the same step that nobody hears of."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.clock import now, one_thread
from benchmarks.race import Measured
from reft_studio.defenses import DEFENSES
from reft_studio.jobs.context import WorkerContext
from reft_studio.jobs.process import Process
from reft_studio.jobs.status import Status
from reft_studio.lab import sets
from reft_studio.models.batching import Example
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Progress, Silent
from reft_studio.training.context import STUDENT, Run
from reft_studio.training.run import finetune
from reft_studio.training.spec import RunSpec
from reft_studio.training.watch import Observer
from reft_studio.workspace import Workspace

STEPS, TURNS, ROWS = 30, 7, 16


class _Timed:
    """Passes on what a training tells, and notes when each step begins and how long the telling took."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner
        self.begun: list[float] = []
        self.told = 0.0

    def stage(self, name: str, index: int, count: int) -> None:
        self._inner.stage(name, index, count)

    def progress(self, done: int, total: int, **metrics: float) -> None:
        self.timed(lambda: self._inner.progress(done, total, **metrics))

    def warn(self, message: str) -> None:
        self._inner.warn(message)

    def tell(self, kind: str, **values: Any) -> None:
        self._inner.tell(kind, **values)

    def check(self) -> None:
        self.begun.append(now())
        self.timed(self._inner.check)

    def timed(self, work: Callable[[], None]) -> None:
        """Do it, and count its time as telling."""
        started = now()
        work()
        self.told += now() - started


class _Timing(Observer):
    """Counts the time of event files as telling, too."""

    def __init__(self, timed: _Timed, folder: Path | None) -> None:
        super().__init__(timed, folder=folder)
        self._timed = timed

    def tell(self, line: Any) -> None:
        self._timed.timed(lambda: super(_Timing, self).tell(line))


def overhead() -> Measured:
    """A plain step on 16 rows of the lab with all that is told of it, and without; budget 1.01."""
    with one_thread(), tempfile.TemporaryDirectory() as place:
        workspace = Workspace.open(Path(place))
        workspace.folder("jobs", "run-bench").mkdir(parents=True)
        session = Session.open("lab")
        session.add(STUDENT, LoraSpec(), seed=0)
        rows = session.encoder.examples(
            {**row, "messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]}
            for row in sets.user_data(rows=200)
        )
        process = Process.current()
        context = WorkerContext(workspace, "run-bench", Status(attempt=1, pid=process.pid, born=process.born))
        told, silent, telling = list[float](), list[float](), list[float]()
        for turn in range(TURNS):
            loud, share = _steps(session, rows, context, workspace.folder("unfinished", f"turn-{turn}"))
            quiet, _ = _steps(session, rows, Silent(), None)
            if turn:
                told, silent, telling = told + loud, silent + quiet, [*telling, share]
        context.events.close()
    one, share, other = statistics.median(told), statistics.median(telling), statistics.median(silent)
    what = f"a step on {ROWS} rows of the lab, with events, status and event files"
    note = (
        f"telling takes {share:.2f} ms of the step; steps in between that told nobody took {other:.1f} ms ({one / other:.3f}, with noise)"
    )
    return Measured("overhead", what, one, "the same steps without their telling", one - share, one / (one - share), 1.01, note=note)


def _steps(session: Session, rows: list[Example], progress: Progress, folder: Path | None) -> tuple[list[float], float]:
    """Milliseconds of each step but the first, and those a step spends on telling."""
    spec = RunSpec(dataset="raced", method="sft", optim=OptimSpec(steps=STEPS, batch_size=ROWS))
    run, timed = Run(spec, session, [], None), _Timed(progress)
    observer = _Timing(timed, folder)
    finetune(spec, run, DEFENSES.get("sft")(DEFENSES.get("sft").Config(), run), rows, timed, observer=observer)
    observer.close()
    return [later - earlier for earlier, later in pairwise(timed.begun)][1:], timed.told / STEPS
