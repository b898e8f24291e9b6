"""A queue whose workers know the kinds in jobs/job_kinds_for_tests.py, and that leaves no process behind."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reft_studio.jobs.process import Process
from reft_studio.jobs.queue import JobQueue, JobView
from reft_studio.jobs.status import read_status
from reft_studio.store import jobs as table
from reft_studio.workspace import Workspace

HERE = Path(__file__).resolve().parent / "jobs"
PATIENCE_S = 120.0


@pytest.fixture
def queue(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobQueue]:
    names = re.findall(r"^def (\w+)\(context", (HERE / "job_kinds_for_tests.py").read_text("utf-8"), re.MULTILINE)
    monkeypatch.setenv("REFT_STUDIO_EXTRA_KINDS", ",".join(f"{name}=job_kinds_for_tests:{name}" for name in names))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    queue = JobQueue(workspace, grace_s=0.5)
    yield queue
    queue.close()
    for record in table.listing(workspace, 0):
        queue.cancel(record.id)

    def all_gone() -> bool:
        for record in table.running(workspace):
            if process := _worker(workspace, record.id):
                process.kill()
            queue.get(record.id)
        return not table.running(workspace)

    _until(all_gone)


def _worker(workspace: Workspace, job_id: str) -> Process | None:
    """The worker process of a job, as soon as it has said so itself."""
    status = read_status(workspace.folder("jobs", job_id), table.get(workspace, job_id).attempt)
    return None if status is None else status.process


def _until(ask: Callable[[], Any]) -> Any:
    """Ask until the answer is true, and return it."""
    end = time.monotonic() + PATIENCE_S
    while not (answer := ask()):
        assert time.monotonic() < end, f"not within {PATIENCE_S} s"
        time.sleep(0.005)
    return answer


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    return _until


@pytest.fixture
def started(queue: JobQueue, workspace: Workspace) -> Callable[..., tuple[str, Process]]:
    """Queue a job, start it, and wait until its own code runs: gives its id and process."""

    def start(kind: str, **params: object) -> tuple[str, Process]:
        job_id = queue.submit(kind, params, title=kind)
        queue.tick()
        _until(lambda: (seen := queue.get(job_id)).stage or seen.done or seen.state != "running")
        process = _worker(workspace, job_id)
        assert process is not None
        return job_id, process

    return start


@pytest.fixture
def finished(queue: JobQueue) -> Callable[..., JobView]:
    """Queue a job and run it to its end."""

    def finish(kind: str, **params: object) -> JobView:
        return queue.wait(queue.submit(kind, params, title=kind), timeout_s=PATIENCE_S)

    return finish
