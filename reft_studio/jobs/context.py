"""The context of a job in its worker: events, status, cancellation, heartbeat."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from reft_studio.jobs import status as files
from reft_studio.jobs.eta import ExpectedTime, StageRate
from reft_studio.jobs.events import EventWriter
from reft_studio.jobs.job import JobCancelled, JobPaused
from reft_studio.jobs.status import Status
from reft_studio.progress import StopEarly
from reft_studio.workspace import Workspace

STATUS_S = 0.5
"""Minimum seconds between two writes of the status, or two progress events without metrics; metrics are never thinned."""
CONTROL_S = 1.0
BEAT_S = 2.0
SOFT_S, SOFT_PAUSE_S = 3.0, 30.0
"""Seconds after a signal before a job that does not call `check` is interrupted: when cancelled, and when paused, where its step and
checkpoint should be completed."""


class WorkerContext:
    """Implements JobContext in the worker process."""

    def __init__(self, workspace: Workspace, job_id: str, status: Status, *, anew: bool = False) -> None:
        self.workspace = workspace
        self.job_id = job_id
        self.anew = anew
        self.folder: Path = workspace.folder("jobs", job_id)
        self.events = EventWriter(self.folder)
        self.status = status
        self._rate = StageRate()
        self._expected = ExpectedTime()
        self.asked = ""
        """What a person, or chat, asked of the job; empty while nothing, or while it is the system that stops it."""
        self._signalled = self._closed = self._told_to_stop = False
        self._written = self._checked_at = self._reported_at = 0.0

    def stage(self, name: str, index: int, count: int) -> None:
        """Begin stage `index` of `count`, counted from 1."""
        self._rate = StageRate()
        self.status = replace(self.status, stage=name, stage_index=index, stage_count=count, done=0, total=0, rate=None)
        self.status = replace(self.status, eta_s=self._expected.eta_s(time.monotonic(), self._rate))
        self.events.add("stage", stage=name, index=index, count=count)
        self._write(force=True)
        self.check()

    def progress(self, done: int, total: int, **metrics: float) -> None:
        """`done` of `total` (0 if unknown); metrics become one event each time."""
        now = time.monotonic()
        self._rate.add(now, done, total)
        self.status = replace(
            self.status, done=done, total=total, rate=self._rate.rate, eta_s=self._expected.eta_s(time.monotonic(), self._rate)
        )
        if metrics:
            self.events.add("metric", stage=self.status.stage, done=done, total=total, **metrics)
        elif now - self._reported_at >= STATUS_S or done >= total > 0:
            self._reported_at = now
            self.events.add("progress", stage=self.status.stage, done=done, total=total)
        self._write()
        self.check()

    def expect(self, seconds: float | None) -> None:
        """Estimated seconds until the whole job is done; None: unknown."""
        self._expected.say(time.monotonic(), seconds)

    def warn(self, message: str) -> None:
        """Store a warning for the person; never text from a dataset."""
        self.events.add("warning", message=message)

    def tell(self, kind: str, **values: Any) -> None:
        """Store a result as an event of its own type."""
        self.events.add(kind, **values)

    def waits(self, what: str) -> None:
        """What the job waits for; empty: nothing."""
        if what != self.status.waiting:
            self.status = replace(self.status, waiting=what)
            self._write(force=True)

    def check(self) -> None:
        """Raise JobCancelled (or JobPaused) if the job was asked to stop, StopEarly the first time it was asked to end its training."""
        now = time.monotonic()
        if self._signalled or now - self._checked_at >= CONTROL_S:
            self._checked_at = now
            self.asked = files.asked(self.folder)
        if self._closed:
            return
        if self._signalled or self.asked not in ("", "stop"):
            signal.setitimer(signal.ITIMER_REAL, 0)  # the job has heard: its clean-up is not to be interrupted
            raise self._stop()
        if self.asked == "stop" and not self._told_to_stop:
            self._told_to_stop = True
            raise StopEarly

    def _stop(self) -> JobCancelled:
        return JobCancelled() if self.asked == "cancel" else JobPaused()

    def end(self, state: str, message: str = "", result: dict[str, Any] | None = None, **waiting: Any) -> None:
        """Write how the job ended. Later signals are ignored."""
        self._closed = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.status = replace(self.status, state=state, message=message, result=result, finished=time.time(), rate=None, eta_s=None)
        self.status = replace(self.status, waiting="", **waiting)
        files.write_status(self.folder, self.status)

    def _write(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._written >= STATUS_S:
            self._written = now
            files.write_status(self.folder, self.status)

    def on_terminate(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGTERM: the next `check` raises; if none comes in time, the alarm does."""
        if not self._closed:
            self._signalled = True
            self.asked = files.asked(self.folder)
            signal.setitimer(signal.ITIMER_REAL, SOFT_S if self.asked == "cancel" else SOFT_PAUSE_S)

    def on_alarm(self, number: int, frame: FrameType | None) -> None:
        """Handle the alarm set by `on_terminate`. An exception here still runs every clean-up, which SIGKILL would not."""
        if not self._closed:
            raise self._stop()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Handle signals and write the heartbeat while the job runs."""
        done = threading.Event()
        thread = threading.Thread(target=self._beats, args=(done,), name="heartbeat", daemon=True)
        before = signal.signal(signal.SIGTERM, self.on_terminate), signal.signal(signal.SIGALRM, self.on_alarm)
        thread.start()
        try:
            yield
        finally:
            done.set()
            signal.signal(signal.SIGTERM, before[0])
            signal.signal(signal.SIGALRM, before[1])

    def _beats(self, done: threading.Event) -> None:
        while not done.wait(BEAT_S):
            files.beat(self.folder)
