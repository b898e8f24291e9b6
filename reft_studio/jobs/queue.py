"""The queue: one job at a time and one in the background, each in a detached process that is found again after the app restarts."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from reft_studio.errors import StudioError
from reft_studio.jobs import status as files
from reft_studio.jobs.events import read_events
from reft_studio.jobs.job import LIVE
from reft_studio.jobs.kinds import BACKGROUND, check_kind
from reft_studio.jobs.launch import LOG, launch, reap
from reft_studio.jobs.process import Process
from reft_studio.jobs.status import Status, read_status
from reft_studio.jobs.view import JobView, view
from reft_studio.store import jobs as table
from reft_studio.store.jobs import Ended, JobRecord
from reft_studio.workspace import Workspace, disk_error, sweep

__all__ = ["JobQueue", "JobView"]

GRACE_S = 10.0
"""Between asking a worker to stop and ending it."""
STARTING_S = 30.0
"""A claimed job that no process took up within this time was lost with the app that claimed it."""
WAIT_S = 0.1
"""Between two looks of `wait`."""
_LOST = "The app stopped while it started this job. Try it again."
_DIED = "Its process ended without a word: the machine was restarted, memory ran out, or it was killed. Try it again."
_ATTEMPT = 1 << 40
Views = list[JobView]  # named here: inside the class, `list` is the method
Events = list[dict[str, Any]]
_log = logging.getLogger(__name__)


class JobQueue:
    """All that may be done with jobs. Any number of these, in any number of processes, may look at one workspace."""

    def __init__(self, workspace: Workspace, *, grace_s: float = GRACE_S) -> None:
        self.workspace = workspace
        self.grace_s = grace_s
        self._children: set[int] = set()
        self._ticking = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def submit(self, kind: str, params: dict[str, Any], *, title: str, after: str | None = None) -> str:
        """Queue a job and return its id; `after` names one that must end well first. It starts at the next `tick`."""
        check_kind(kind)
        job_id = f"{kind}-{uuid.uuid4().hex[:8]}"
        table.insert(self.workspace, job_id, kind=kind, title=title, params=params, after=after, now=time.time())
        return job_id

    def submit_once(self, kind: str, params: dict[str, Any], *, title: str) -> str:
        """`submit`, unless a job of the same kind and params waits or runs: then that one's id."""
        same = (job.id for job in self.list(0) if job.kind == kind and job.state in LIVE and job.params == params)
        return next(same, None) or self.submit(kind, params, title=title)

    def cancel(self, job_id: str) -> None:
        """Stop a job: a queued one at once, a running one within the grace time. One that has ended stays as it is."""
        record = table.request_cancel(self.workspace, job_id, now=time.time())
        if record.state != "running":
            return
        files.write_control(self._folder(job_id), "cancel")
        if process := self._process(record, read_status(self._folder(job_id), record.attempt)):
            process.terminate()

    def retry(self, job_id: str) -> None:
        """Queue a job that did not end well again, and those that were cancelled because of it."""
        table.requeue(self.workspace, job_id)

    def move(self, job_id: str, direction: Literal["up", "down"] | str) -> None:
        """Change places with the queued job before (up) or after it."""
        table.swap(self.workspace, job_id, earlier=direction == "up")

    def list(self, limit: int = 60) -> Views:
        """Running, queued in order, then the newest `limit` that have ended."""
        return self._views([self._settled(record) for record in table.listing(self.workspace, limit)])

    def get(self, job_id: str) -> JobView:
        """One job as it stands now. Raises StoreError if there is none with this id."""
        record = self._settled(table.get(self.workspace, job_id))
        queued = self._views(table.listing(self.workspace, 0)) if record.state == "queued" else []
        return next((found for found in queued if found.id == job_id), None) or self._views([record])[0]

    def metrics(self, job_id: str, since_offset: int = 0, *, kinds: Collection[str] = ("metric",)) -> tuple[Events, int]:
        """Metric events, or those of `kinds`, since an offset of an earlier call (0: all), oldest first, and the offset to go on from.

        When the job was tried again in between, the new attempt's metrics are given from their start.
        """
        attempt, offset = divmod(since_offset, _ATTEMPT)
        record = table.get(self.workspace, job_id)
        events, offset = read_events(self._folder(job_id), offset if attempt == record.attempt else 0)
        return [event for event in events if event["type"] in kinds], record.attempt * _ATTEMPT + offset

    def events(self, job_id: str) -> Events:
        """All events of the present attempt, oldest first."""
        found, offset = read_events(self._folder(job_id))
        while found:
            more, end = read_events(self._folder(job_id), offset)
            if end == offset:
                break
            found, offset = found + more, end
        return found

    def log(self, job_id: str, limit: int = 20_000) -> str:
        """The end of what the worker printed, at most `limit` bytes. For the person who looks for a fault, not for a page."""
        path = self._folder(table.get(self.workspace, job_id).id) / LOG
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - limit))
            return file.read().decode("utf-8", errors="replace")

    def wait(self, job_id: str, *, timeout_s: float | None = None, on_update: Callable[[JobView], None] | None = None) -> JobView:
        """Run the queue until this job has ended; returns it as it stands at the end or at the timeout."""
        begin = time.monotonic()
        while True:
            self.tick()
            found = self.get(job_id)
            if on_update:
                on_update(found)
            if found.state not in LIVE or (timeout_s is not None and time.monotonic() - begin > timeout_s):
                return found
            time.sleep(WAIT_S)

    def tick(self) -> None:
        """Settle jobs whose worker has ended, then start the next of each lane if none runs. Cheap; call it about once a second."""
        if not self.workspace.writable or not self._ticking.acquire(blocking=False):
            return
        try:
            for record in table.running(self.workspace):
                self._settled(record)
            self._children = {child for child in self._children if not reap(child)}
            for beside in (False, True):
                if claimed := table.claim(self.workspace, now=time.time(), background=BACKGROUND, beside=beside):
                    self._start(claimed)
        finally:
            self._ticking.release()

    def start_background(self, interval: float = 1.0) -> None:
        """Tick in a daemon thread until `close`."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, args=(interval,), name="job queue", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop ticking. Workers go on."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, interval: float) -> None:
        while not self._stop.wait(interval):
            try:
                self.tick()
            except StudioError as exc:  # a full disk, a busy database: the next tick may do
                _log.warning("The job queue waits: %s", exc)
            except Exception:
                _log.exception("The job queue met a fault of the app and goes on")

    def _start(self, record: JobRecord) -> None:
        try:
            child = launch(self.workspace, record)
        except OSError as exc:
            self._finish(record, "failed", message=str(disk_error(self._folder(record.id), exc)))
            return
        self._children.add(child)
        if process := Process.of(child):
            table.name_worker(self.workspace, record.id, record.attempt, str(process))

    def _settled(self, record: JobRecord) -> JobRecord:
        """The record, ended now if its worker has ended; a worker that did not heed its cancellation is killed."""
        if record.state != "running" or not self.workspace.writable:
            return record
        folder, now = self._folder(record.id), time.time()
        status = read_status(folder, record.attempt)
        process = self._process(record, status)
        if process is not None and process.alive():
            # One that has said its last word may still hold memory of the device; the next job waits until it is gone.
            stop_by = status.finished if status is not None and status.ended else record.cancel_at
            if stop_by is not None and now - stop_by > self.grace_s:
                process.kill()
            return record
        status = read_status(folder, record.attempt)  # its last word may have come between the two looks
        if status is not None and status.ended:
            return self._finish(record, cast(Ended, status.state), message=status.message, result=status.result, at=status.finished)
        if process is not None:
            return self._bury(record, process)
        lost = now - (record.started or 0.0) > STARTING_S
        return self._finish(record, "interrupted", message=_LOST) if lost else record

    def _bury(self, record: JobRecord, process: Process) -> JobRecord:
        """End a job whose worker died without a word, and remove what it left half-written."""
        sweep(self.workspace.root, dead=process.pid)
        if record.cancel_at is not None:
            return self._finish(record, "cancelled")
        return self._finish(record, "interrupted", message=_DIED)

    def _finish(
        self, record: JobRecord, state: Ended, *, message: str = "", result: dict[str, Any] | None = None, at: float | None = None
    ) -> JobRecord:
        now = at or time.time()
        try:
            return table.finish(self.workspace, record.id, record.attempt, state, message=message, result=result, now=now)
        except StudioError as exc:
            # The table cannot be written now (disk full): the person still sees how it ended, and the next look tries again.
            _log.warning("The end of %s is not in the table yet: %s", record.id, exc)
            return replace(record, state=state, message=message, result=result, finished=now)

    def _process(self, record: JobRecord, status: Status | None) -> Process | None:
        if status is not None:
            return status.process
        return Process.parse(record.worker) if record.worker else None

    def _views(self, records: Iterable[JobRecord]) -> Views:
        now, places, views = time.time(), {True: 0, False: 0}, Views()
        for record in records:
            lane = record.kind in BACKGROUND
            places[lane] += record.state == "queued"
            status = read_status(self._folder(record.id), record.attempt)
            position = places[lane] if record.state == "queued" else None
            views.append(view(record, status, self._folder(record.id), position=position, now=now))
        return views

    def _folder(self, job_id: str) -> Path:
        return self.workspace.folder("jobs", job_id)
