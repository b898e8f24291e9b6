"""Runs one job in one process: `python -m reft_studio.jobs.worker --workspace W --job ID`. May be killed at any instant."""

from __future__ import annotations

import argparse
import errno
import math
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reft_studio import offline, threads
from reft_studio.errors import OUT_OF_MEMORY, StudioError, is_out_of_memory
from reft_studio.jobs import devices, lease
from reft_studio.jobs.context import WorkerContext
from reft_studio.jobs.disk_space import Shortage
from reft_studio.jobs.job import JobCancelled, JobPaused
from reft_studio.jobs.kinds import job_function
from reft_studio.jobs.process import Process
from reft_studio.jobs.status import Status, prepare, write_status
from reft_studio.progress import StopEarly
from reft_studio.store import jobs as table
from reft_studio.store.jobs import JobRecord
from reft_studio.workspace import Workspace, disk_error

NICE = 10
"""Added to the niceness, so that the app and the rest of the machine stay responsive. `REFT_STUDIO_NICE` sets another value."""
_NO_TRAINING = "There was no training to stop, so nothing was kept. Try it again."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the exit status is 0 on success, 1 on failure, 2 if there was nothing to do."""
    parser = argparse.ArgumentParser(prog="reft_studio.jobs.worker")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--job", required=True)
    parser.add_argument("--attempt", type=int, default=None)
    options = parser.parse_args(arguments)
    threads.wait_briefly()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.nice(int(os.environ.get("REFT_STUDIO_NICE", NICE)))
    workspace = Workspace.open(options.workspace)
    record = table.get(workspace, options.job)
    if record.params.get(offline.ASKED) is True:
        offline.allow_hub()
    offline.enforce_by_default()
    if record.state != "running" or options.attempt not in (None, record.attempt):
        print(f"{record.id}: nothing to do, it is {record.state} (attempt {record.attempt})", file=sys.stderr)
        return 2
    return _work(workspace, record)


@dataclass(frozen=True)
class _End:
    """How an attempt ended: its state, a message for the person, its result, and what it waits for."""

    state: str
    message: str = ""
    result: dict[str, Any] | None = None
    shortage: Shortage | None = None

    @property
    def waiting(self) -> dict[str, Any]:
        """The fields of the status that say what it waits for."""
        return {"wait_at": str(self.shortage.disk), "wait_free": self.shortage.need} if self.shortage else {}


def _work(workspace: Workspace, record: JobRecord) -> int:
    me, folder = Process.current(), workspace.folder("jobs", record.id)
    status = Status(attempt=record.attempt, pid=me.pid, born=me.born, started=time.time())
    try:
        prepare(folder)
        write_status(folder, status)
        context = WorkerContext(workspace, record.id, status, anew=record.anew)
    except StudioError as exc:
        return _give_up(workspace, record, exc)
    with context.watched():
        end = _outcome(context, record)
        context.end(end.state, end.message, end.result, **end.waiting)
    _tell(context, end.message)
    return 0 if end.state == "done" else 1


def _outcome(context: WorkerContext, record: JobRecord) -> _End:
    """Run the job's function and return how it ended."""
    try:
        context.events.add("state", state="running", attempt=record.attempt)
        context.check()
        with _device(context, record):
            return _End("done", result=job_function(record.kind)(context, record.params))
    except JobPaused:
        return _End({"pause": "paused", "yield": "yielded"}.get(context.asked, "interrupted"))
    except JobCancelled:
        return _End("cancelled")
    except StopEarly:
        return _End("cancelled", _NO_TRAINING)
    except Exception as exc:
        if shortage := Shortage.found(exc, context.folder):
            _log(traceback.format_exc())
            return _End("paused", shortage.message, shortage=shortage)
        if isinstance(exc, StudioError):
            return _End("failed", str(exc))
        _log(traceback.format_exc())  # ours to mend, not the person's: the traceback is for the log, never for the page
        if isinstance(exc, OSError) and exc.errno == errno.EROFS:
            return _End("failed", str(disk_error(Path(exc.filename or context.folder), exc)))
        return _End("failed", OUT_OF_MEMORY if is_out_of_memory(exc) else _unexpected(exc))


@contextmanager
def _device(context: WorkerContext, record: JobRecord) -> Iterator[None]:
    """Hold the lease of the job's device, after waiting for its holder; nothing for a job that needs none."""
    if record.device is None:
        yield
        return

    def on_wait(holder: lease.Holder | None) -> None:
        context.check()
        context.waits(f"Waits for {devices.title(record.device or '')}: {_whose(holder)}")

    leased = lease.hold(context.workspace, record.device, record.title, job=record.id, wait_s=math.inf, waiting=on_wait)
    with leased:
        context.waits("")
        yield


def _whose(holder: lease.Holder | None) -> str:
    if holder is None or holder.job is None:
        return "chat has it, and gives it back a minute after its last answer, or when it is asked to."
    return f"“{holder.what}” has it."


def _log(text: str) -> None:
    """Print to the log, if there is space: a full disk must not hide how a job ended."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _unexpected(exc: Exception) -> str:
    return f"unexpected: {type(exc).__name__}. This is a fault of the app; its log (stdout.log of this job) says more. Try again."


def _tell(context: WorkerContext, message: str) -> None:
    """Write the end as events too; the status has it already, so a full disk loses nothing."""
    try:
        if message:
            context.events.add("error", message=message)
        context.events.add("state", state=context.status.state)
        context.events.close()
    except StudioError as exc:
        _log(str(exc))


def _give_up(workspace: Workspace, record: JobRecord, exc: StudioError) -> int:
    """The job's folder cannot be written: record that in the table, which may be on a disk with space."""
    _log(str(exc))
    if short := Shortage.found(exc, workspace.folder("jobs", record.id)):
        wait = {"message": short.message, "wait_at": str(short.disk)}
        table.pause(workspace, record.id, record.attempt, deaths=record.deaths, wait_free=short.need, **wait)
    else:
        table.finish(workspace, record.id, record.attempt, "failed", message=str(exc), result=None, now=time.time())
    return 1


if __name__ == "__main__":
    sys.exit(main())
