"""Handles a job whose attempt is over: it ends, pauses, or is restarted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from reft_studio.errors import StudioError
from reft_studio.jobs import status as files
from reft_studio.jobs.disk_space import Shortage, enough, lacking
from reft_studio.jobs.process import Process
from reft_studio.jobs.status import Status, read_status
from reft_studio.store import jobs as table
from reft_studio.store import settings
from reft_studio.store.jobs import Ended, JobRecord
from reft_studio.workspace import Workspace, sweep

GRACE_S, PAUSE_GRACE_S = 10.0, 45.0
"""Seconds between asking a worker to stop and killing it: for cancellation, and for pausing, where the current step is finished first."""
STARTING_S = 30.0
"""A claimed job that no worker started within this time was lost with the app that claimed it."""
SHORT_S, CRASHES = 120.0, 5
"""After this many consecutive attempts shorter than this, the job is not restarted automatically."""
AFTER_FAILURE = "jobs:after-failure"
"""Setting: what happens to queued model jobs when one fails."""
Policy = Literal["go on", "hold"]
_LOST = "Went on after the app stopped while it started this job"
_DIED = "Went on after its process ended"
_STOPPED = "Went on after the system stopped it"
_YIELDED = "Went on after chat had its device"
_ROOM = "Went on after the disk had room again"
_CRASHED = (
    "Its process ended {count} times in a row, each time within {minutes} minutes, without a word: memory ran out, or it was killed. It is "
    "not started again by itself. Try it again: it goes on from what it kept."
)
_ALWAYS_FULL = " It met this {count} times in a row, so it waits for you now: make room, then resume it."
_PAUSED = "Paused. Resume it, and it goes on from what it kept."
_log = logging.getLogger(__name__)


class Attempts:
    """Supervises the workers of one workspace; `crashes` and the grace times may be set."""

    def __init__(self, workspace: Workspace, *, grace_s: float) -> None:
        self.workspace = workspace
        self.grace_s, self.pause_grace_s, self.crashes = grace_s, max(PAUSE_GRACE_S, grace_s), CRASHES

    @property
    def after_failure(self) -> Policy:
        """What happens to queued model jobs when one fails: they go on, or are held until a person resumes them."""
        return "hold" if settings.get(self.workspace, AFTER_FAILURE) == "hold" else "go on"

    def settled(self, record: JobRecord) -> JobRecord:
        """The record after its worker ended, or its disk has room again; a worker that ignores the request to stop is killed."""
        if not self.workspace.writable:
            return record
        if record.state == "paused" and record.wait_free is not None and enough(Path(record.wait_at or "/"), record.wait_free):
            return self._written(record, lambda: table.resume(self.workspace, record.id, note=_ROOM, deaths=record.deaths))
        if record.state != "running":
            return record
        folder, now = self._folder(record.id), time.time()
        status = read_status(folder, record.attempt)
        process = self.process(record, status)
        if process is not None and process.alive():
            # One that has said its last word may still hold memory of the device; the next job waits until it is gone.
            ended = status is not None and status.ended
            stop_by = status.finished if status is not None and ended else record.cancel_at
            grace = self.grace_s if ended or record.asked == "cancel" else self.pause_grace_s
            if stop_by is not None and now - stop_by > grace:
                process.kill()
            return record
        status = read_status(folder, record.attempt)  # its last word may have come between the two looks
        if status is not None and status.ended:
            return self._concluded(record, status)
        if process is not None:
            sweep(self.workspace.root, dead=process.pid)
            return self._without_a_word(record, _DIED)
        return self._without_a_word(record, _LOST) if now - (record.started or 0.0) > STARTING_S else record

    def _concluded(self, record: JobRecord, status: Status) -> JobRecord:
        """The record of a job whose worker reported how it ended."""
        if status.state in ("paused", "yielded", "interrupted") and record.asked == "cancel":
            return self.finish(record, "cancelled", at=status.finished)
        if status.state == "yielded":
            return self._put_back(record, _YIELDED, deaths=record.deaths)
        if status.state == "interrupted":
            return self._go_on(record, _STOPPED)
        if status.state == "paused" and status.wait_free is not None and record.asked != "pause":
            return self.pause_for_room(record, Shortage(Path(status.wait_at or "/"), status.wait_free, status.message))
        if status.state == "paused":
            return self._written(record, lambda: self._paused(record, _PAUSED), state="paused", message=_PAUSED)
        return self.finish(record, cast(Ended, status.state), message=status.message, result=status.result, at=status.finished)

    def _without_a_word(self, record: JobRecord, note: str) -> JobRecord:
        """The record of a job whose worker died without a report."""
        if record.asked == "cancel":
            return self.finish(record, "cancelled")
        if record.asked == "pause":
            return self._written(record, lambda: self._paused(record, _PAUSED), state="paused", message=_PAUSED)
        if record.asked == "yield":
            return self._put_back(record, _YIELDED, deaths=record.deaths)
        if short := lacking(self.workspace.root):
            return self.pause_for_room(record, short, short_lived=False)
        return self._go_on(record, note)

    def _go_on(self, record: JobRecord, note: str) -> JobRecord:
        """Requeue a job that died at the front, unless it dies repeatedly."""
        deaths = record.deaths + 1 if self._short_lived(record) else 0
        if deaths >= self.crashes:
            return self.finish(record, "interrupted", message=_CRASHED.format(count=deaths, minutes=round(SHORT_S / 60)))
        return self._put_back(record, note, deaths=deaths)

    def _put_back(self, record: JobRecord, note: str, *, deaths: int) -> JobRecord:
        status = read_status(self._folder(record.id), record.attempt)
        anew = record.anew and not (status and status.done)  # one that has done something has forgotten what was to be forgotten

        def write() -> JobRecord:
            return table.put_back(self.workspace, record.id, record.attempt, deaths=deaths, note=note, anew=anew)

        return self._written(record, write, state="queued")

    def pause_for_room(self, record: JobRecord, short: Shortage, *, short_lived: bool = True) -> JobRecord:
        """Pause a job until its disk has room; one that repeatedly finds it full waits for a person."""
        deaths = record.deaths + 1 if short_lived and self._short_lived(record) else 0
        given_up = deaths >= self.crashes
        message = short.message + (_ALWAYS_FULL.format(count=deaths) if given_up else "")
        waiting: dict[str, Any] = {} if given_up else {"wait_at": str(short.disk), "wait_free": short.need, "deaths": deaths}
        return self._written(record, lambda: self._paused(record, message, **waiting), state="paused", message=message, **waiting)

    def _paused(self, record: JobRecord, message: str, **waiting: Any) -> JobRecord:
        return table.pause(self.workspace, record.id, record.attempt, message=message, **waiting)

    def _short_lived(self, record: JobRecord) -> bool:
        """Whether the attempt, by its last heartbeat, was shorter than `SHORT_S`."""
        began = record.started or 0.0
        return (files.last_beat(self._folder(record.id)) or began) - began < SHORT_S

    def finish(
        self, record: JobRecord, state: Ended, *, message: str = "", result: dict[str, Any] | None = None, at: float | None = None
    ) -> JobRecord:
        """End a job. If a failure is to hold the queue, it does so now."""
        at = at or time.time()

        def write() -> JobRecord:
            ended = table.finish(self.workspace, record.id, record.attempt, state, message=message, result=result, now=at)
            if state in ("failed", "interrupted") and record.lane == "model" and self.after_failure == "hold":
                how = "failed" if state == "failed" else "was interrupted"
                self._hold_back(f"Held back, because “{record.title}” {how}. Resume it to go on.")
            return ended

        return self._written(record, write, state=state, finished=at, message=message, result=result)

    def _hold_back(self, message: str) -> None:
        for waiting in table.listing(self.workspace, 0):
            if waiting.state == "queued" and waiting.lane == "model":
                table.ask(self.workspace, waiting.id, "pause", now=time.time(), message=message)

    def _written(self, record: JobRecord, write: Callable[[], JobRecord], **otherwise: Any) -> JobRecord:
        """The record as written by `write`; an unsaved copy if the table cannot be written (disk full), so that it is still shown."""
        try:
            return write()
        except StudioError as exc:
            _log.warning("How %s stands is not in the table yet: %s", record.id, exc)  # the next look tries again
            return replace(record, **otherwise)

    def process(self, record: JobRecord, status: Status | None) -> Process | None:
        """The process of the current attempt; None while it has none."""
        if status is not None:
            return status.process
        return Process.parse(record.worker) if record.worker else None

    def _folder(self, job_id: str) -> Path:
        return self.workspace.folder("jobs", job_id)
