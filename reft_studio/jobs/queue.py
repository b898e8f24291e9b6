"""The queue: one model job per device, and light ones, each in a detached process that is supervised again after a restart of the app."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from reft_studio.errors import SpecError, StudioError
from reft_studio.jobs import devices
from reft_studio.jobs import status as files
from reft_studio.jobs.attempts import AFTER_FAILURE, GRACE_S, Attempts, Policy
from reft_studio.jobs.disk_space import Shortage
from reft_studio.jobs.events import all_events, continued, earlier_events, read_events
from reft_studio.jobs.job import LIVE
from reft_studio.jobs.kinds import check_kind
from reft_studio.jobs.lanes import LIGHT_JOBS, lane_of, wanted_device
from reft_studio.jobs.launch import LOG, launch, reap
from reft_studio.jobs.process import Process
from reft_studio.jobs.run_jobs import run_of
from reft_studio.jobs.status import read_status
from reft_studio.jobs.view import JobView, trains, view
from reft_studio.store import jobs as table
from reft_studio.store import settings
from reft_studio.store.jobs import Asked, JobRecord
from reft_studio.training.run_names import titles
from reft_studio.workspace import Workspace, disk_error

__all__ = ["JobQueue", "JobView"]

WAIT_S = 0.1
"""Polling interval of `wait` in seconds."""
_HELD = "Held back. Resume it, and it is the next."
_ATTEMPT = 1 << 40
Views = list[JobView]  # named here: inside the class, `list` is the method
Events = list[dict[str, Any]]
_log = logging.getLogger(__name__)


class JobQueue:
    """Everything that can be done with jobs. Any number of queues, in any number of processes, may work on one workspace."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        grace_s: float = GRACE_S,
        on: Sequence[str] | None = None,
        start: Callable[[Workspace, JobRecord], int] = launch,
    ) -> None:
        """`on`: the devices to use, instead of all; `start` starts a worker and returns its process id."""
        self.workspace = workspace
        self.attempts = Attempts(workspace, grace_s=grace_s)
        self._on, self._launch = on, start
        self._children: set[int] = set()
        self._ticking = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def submit(self, kind: str, params: dict[str, Any], *, title: str, after: str | None = None) -> str:
        """Queue a job and return its id; `after` names one that must succeed first. It starts at the next `tick`."""
        check_kind(kind)
        job_id = f"{kind}-{uuid.uuid4().hex[:8]}"
        lane, wants = lane_of(self.workspace, kind, params), wanted_device(params)
        table.insert(self.workspace, job_id, kind=kind, title=title, params=params, after=after, now=time.time(), lane=lane, wants=wants)
        return job_id

    def submit_once(self, kind: str, params: dict[str, Any], *, title: str) -> str:
        """`submit`, unless a job of the same kind and params is queued or running: then that one's id."""
        same = (job.id for job in self.list(0) if job.kind == kind and job.state in LIVE and job.params == params)
        return next(same, None) or self.submit(kind, params, title=title)

    def cancel(self, job_id: str) -> None:
        """Stop a job: a queued or paused one at once, a running one within the grace time. An ended one is unchanged."""
        self._ask(job_id, "cancel")

    def pause(self, job_id: str) -> None:
        """Hold a queued job; let a running one finish its step, checkpoint and stop, until `resume`."""
        self._ask(job_id, "pause", message=_HELD)

    def give_way(self, job_id: str) -> None:
        """Let a running job finish its step, checkpoint and stop; it is the next again as soon as its device is free."""
        self._ask(job_id, "yield")

    def stop_and_save(self, job_id: str) -> None:
        """End the training of a run after its step; its result is stored and evaluated. Raises SpecError while it does not train."""
        now = self.get(job_id)
        if now.kind != "run" or now.state != "running" or not trains(now.stage):
            raise SpecError(f"'{now.title}' is not training now ({now.stage or now.state}), so there is no training to end.")
        self._ask(job_id, "stop")

    def _ask(self, job_id: str, what: Asked, *, message: str = "") -> None:
        record = table.ask(self.workspace, job_id, what, now=time.time(), message=message)
        if record.state != "running" or record.asked != what:
            return
        files.write_control(self._folder(job_id), what)
        process = self.attempts.process(record, read_status(self._folder(job_id), record.attempt))
        if process and what != "stop":  # the end of a training may take as long as a step does
            process.terminate()

    def resume(self, job_id: str) -> None:
        """Put a paused job at the front of the queue."""
        table.resume(self.workspace, job_id)

    def retry(self, job_id: str, *, anew: bool = False) -> None:
        """Queue a failed job again, and those that were cancelled because of it; `anew`: without its checkpoints."""
        table.requeue(self.workspace, job_id, anew=anew)

    def first(self, job_id: str) -> None:
        """Put a queued job at the front."""
        table.to_front(self.workspace, job_id)

    @property
    def after_failure(self) -> Policy:
        """What happens to queued model jobs when one fails: they go on, or are held until a person resumes them."""
        return self.attempts.after_failure

    def set_after_failure(self, policy: Policy | str) -> None:
        """Raises SpecError for an unknown policy."""
        if policy not in ("go on", "hold"):
            raise SpecError(f"After a failure is '{str(policy)[:40]}': choose 'go on' or 'hold'.")
        settings.set(self.workspace, AFTER_FAILURE, policy)

    def move(self, job_id: str, direction: Literal["up", "down"] | str) -> None:
        """Swap with the queued job before (up) or after it."""
        table.swap(self.workspace, job_id, earlier=direction == "up")

    def list(self, limit: int = 60) -> Views:
        """Running jobs, queued ones in order, then the newest `limit` that have ended."""
        return self._views([self.attempts.settled(record) for record in table.listing(self.workspace, limit)])

    def unfinished(self, kind: str) -> Views:
        """All jobs of a kind that have not succeeded, failed ones newest first; positions count this kind only."""
        return self._views([self.attempts.settled(record) for record in table.not_done(self.workspace, kind)])

    def get(self, job_id: str) -> JobView:
        """One job in its current state. Raises StoreError if there is none with this id."""
        record = self.attempts.settled(table.get(self.workspace, job_id))
        queued = self._views(table.listing(self.workspace, 0)) if record.state == "queued" else []
        return next((job for job in queued if job.id == job_id), None) or self._views([record])[0]

    def metrics(self, job_id: str, since_offset: int = 0, *, kinds: Collection[str] = ("metric",)) -> tuple[Events, int]:
        """Metric events, or those of `kinds`, since an offset of an earlier call (0: all), oldest first, and the offset to continue from.

        Several attempts of a job are merged into one run. When another attempt has begun in between, it is returned from its start once it
        has a metric of its own.
        """
        attempt, offset = divmod(since_offset, _ATTEMPT)
        record, folder = table.get(self.workspace, job_id), self._folder(job_id)
        same = attempt == record.attempt
        read, offset = read_events(folder, offset if same else 0)
        events, reached = [event for event in read if event["type"] in kinds], record.attempt * _ATTEMPT + offset
        earlier = [] if same else earlier_events(folder, kinds)
        if not earlier:
            return events, reached
        if not any(event["type"] == "metric" for event in events):
            return ([], since_offset) if since_offset else (earlier, (record.attempt - 1) * _ATTEMPT)
        return continued(earlier, events), reached

    def events(self, job_id: str) -> Events:
        """All events of the current attempt, oldest first."""
        return all_events(self._folder(job_id))

    def log(self, job_id: str, limit: int = 20_000) -> str:
        """The end of the worker's output, at most `limit` bytes. For debugging, not for a page."""
        path = self._folder(table.get(self.workspace, job_id).id) / LOG
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - limit))
            return file.read().decode("utf-8", errors="replace")

    def wait(self, job_id: str, *, timeout_s: float | None = None, on_update: Callable[[JobView], None] | None = None) -> JobView:
        """Run the queue until this job has ended; returns it in its state at the end or at the timeout."""
        begin = time.monotonic()
        while True:
            self.tick()
            job = self.get(job_id)
            if on_update:
                on_update(job)
            if job.state not in LIVE or (timeout_s is not None and time.monotonic() - begin > timeout_s):
                return job
            time.sleep(WAIT_S)

    def tick(self) -> None:
        """Settle jobs whose worker has ended, then start those that fit. Cheap; call it about once a second."""
        if not self.workspace.writable or not self._ticking.acquire(blocking=False):
            return
        try:
            live = table.listing(self.workspace, 0)
            settled = [self.attempts.settled(record) for record in reversed(live)]  # the last to be put back is the first of the queue
            self._children = {child for child in self._children if not reap(child)}
            if any(record.state == "queued" for record in settled):
                self._fill()
        finally:
            self._ticking.release()

    def _fill(self) -> None:
        on = self._on or devices.devices()
        while claimed := table.claim(self.workspace, now=time.time(), devices=on, light=LIGHT_JOBS):
            self._start(claimed)

    def start_background(self, interval: float = 1.0, *, also: Callable[[], None] = lambda: None) -> None:
        """Tick in a daemon thread until `close`; `also` is called at each tick."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, args=(interval, also), name="job queue", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop ticking. Workers keep running."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, interval: float, also: Callable[[], None]) -> None:
        while not self._stop.wait(interval):
            try:
                self.tick()
                also()
            except StudioError as exc:  # a full disk, a busy database: the next tick may do
                _log.warning("The job queue waits: %s", exc)
            except Exception:
                _log.exception("The job queue met a fault of the app and goes on")

    def _start(self, record: JobRecord) -> None:
        folder = self._folder(record.id)
        try:
            child = self._launch(self.workspace, record)
        except (OSError, StudioError) as exc:
            error = exc if isinstance(exc, StudioError) else disk_error(folder, exc)
            if short := Shortage.found(exc, folder):
                self.attempts.pause_for_room(record, short, short_lived=False)
            else:
                self.attempts.finish(record, "failed", message=str(error))
            return
        self._children.add(child)
        if process := Process.of(child):
            table.name_worker(self.workspace, record.id, record.attempt, str(process))

    def _views(self, records: Iterable[JobRecord]) -> Views:
        now, positions, views = time.time(), Counter[bool](), Views()
        records = list(records)
        names = titles(self.workspace) if any(record.kind == "run" for record in records) else {}
        for record in records:
            lane = record.lane == "model"
            positions[lane] += record.state == "queued"
            status = read_status(self._folder(record.id), record.attempt)
            position = positions[lane] if record.state == "queued" else None
            run = run_of(self.workspace, record)
            title = names.get(run, record.title)
            views.append(view(record, status, self._folder(record.id), title=title, position=position, now=now, run=run))
        return views

    def _folder(self, job_id: str) -> Path:
        return self.workspace.folder("jobs", job_id)
