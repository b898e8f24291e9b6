"""One job in one process: `python -m reft_studio.jobs.worker --workspace W --job ID`. May be killed at any instant."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reft_studio import offline, threads
from reft_studio.errors import OUT_OF_MEMORY, StudioError, is_out_of_memory
from reft_studio.jobs.context import WorkerContext
from reft_studio.jobs.job import JobCancelled
from reft_studio.jobs.kinds import job_function
from reft_studio.jobs.process import Process
from reft_studio.jobs.status import Status, cancel_requested, prepare, write_status
from reft_studio.store import jobs as table
from reft_studio.store.jobs import JobRecord
from reft_studio.workspace import Workspace, disk_error

NICE = 10
"""Added to the niceness: the app and the rest of the machine stay quick while a job computes."""
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; the exit status is 0 if it ended well, 1 if it did not, 2 if there was nothing to do."""
    parser = argparse.ArgumentParser(prog="reft_studio.jobs.worker")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--job", required=True)
    parser.add_argument("--attempt", type=int, default=None)
    options = parser.parse_args(arguments)
    threads.wait_briefly()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.nice(NICE)
    workspace = Workspace.open(options.workspace)
    record = table.get(workspace, options.job)
    if record.params.get(offline.ASKED) is True:
        offline.allow_hub()
    offline.enforce_by_default()
    if record.state != "running" or options.attempt not in (None, record.attempt):
        print(f"{record.id}: nothing to do, it is {record.state} (attempt {record.attempt})", file=sys.stderr)
        return 2
    return _work(workspace, record)


def _work(workspace: Workspace, record: JobRecord) -> int:
    me, folder = Process.current(), workspace.folder("jobs", record.id)
    status = Status(attempt=record.attempt, pid=me.pid, born=me.born, started=time.time())
    try:
        prepare(folder)
        write_status(folder, status)
        context = WorkerContext(workspace, record.id, status)
    except StudioError as exc:
        return _give_up(workspace, record, str(exc))
    with context.watched():
        state, message, result = _outcome(context, record)
        context.end(state, message, result)
    _tell(context, message)
    return 0 if state == "done" else 1


def _outcome(context: WorkerContext, record: JobRecord) -> tuple[str, str, dict[str, Any] | None]:
    """Run the job's function: how it ended, what to tell the person, its result."""
    try:
        context.events.add("state", state="running", attempt=record.attempt)
        context.check()
        result = job_function(record.kind)(context, record.params)
        return "done", "", result
    except JobCancelled:
        if cancel_requested(context.folder):
            return "cancelled", "", None
        return "interrupted", "The system stopped this job. Try it again.", None
    except StudioError as exc:
        return "failed", str(exc), None
    except OSError as exc:
        traceback.print_exc()
        if exc.errno in _DISK:
            return "failed", str(disk_error(Path(exc.filename or context.folder), exc)), None
        return "failed", _unexpected(exc), None
    except Exception as exc:  # ours to mend, not the person's: the traceback is for the log, never for the page
        traceback.print_exc()
        return "failed", OUT_OF_MEMORY if is_out_of_memory(exc) else _unexpected(exc), None


def _unexpected(exc: Exception) -> str:
    return f"unexpected: {type(exc).__name__}. This is a fault of the app; its log (stdout.log of this job) says more. Try again."


def _tell(context: WorkerContext, message: str) -> None:
    """The end as events too; the status has it already, so a disk that is full now loses nothing."""
    try:
        if message:
            context.events.add("error", message=message)
        context.events.add("state", state=context.status.state)
        context.events.close()
    except StudioError as exc:
        print(exc, file=sys.stderr)


def _give_up(workspace: Workspace, record: JobRecord, message: str) -> int:
    """The job's folder cannot be written: say so in the table, which may lie where there is still room."""
    print(message, file=sys.stderr)
    table.finish(workspace, record.id, record.attempt, "failed", message=message, result=None, now=time.time())
    return 1


if __name__ == "__main__":
    sys.exit(main())
