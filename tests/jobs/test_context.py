"""The context without a process around it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reft_studio.errors import PrerequisiteError
from reft_studio.jobs import status as files
from reft_studio.jobs.context import WorkerContext
from reft_studio.jobs.events import read_events
from reft_studio.jobs.job import JobCancelled
from reft_studio.jobs.process import Process
from reft_studio.jobs.status import Status, read_status, write_status
from reft_studio.workspace import Workspace


@pytest.fixture
def context(workspace: Workspace) -> Iterator[WorkerContext]:
    me = Process.current()
    folder = workspace.folder("jobs", "count-1")
    folder.mkdir(parents=True)
    files.prepare(folder)
    context = WorkerContext(workspace, "count-1", Status(attempt=3, pid=me.pid, born=me.born))
    yield context
    signal.setitimer(signal.ITIMER_REAL, 0)
    context.events.close()


def test_a_job_that_hears_is_not_interrupted_in_its_clean_up(context: WorkerContext) -> None:
    context.on_terminate(signal.SIGTERM, None)
    assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    with pytest.raises(JobCancelled):
        context.progress(1, 2)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_once_the_end_is_decided_no_signal_changes_it(context: WorkerContext) -> None:
    context.end("done", result={"rows": 1})
    context.on_terminate(signal.SIGTERM, None)
    context.on_alarm(signal.SIGALRM, None)
    context.check()
    status = read_status(context.folder, 3)
    assert status is not None and (status.state, status.result) == ("done", {"rows": 1})


def test_except_exception_does_not_swallow_a_cancellation(context: WorkerContext) -> None:
    files.write_control(context.folder, "cancel")
    with pytest.raises(JobCancelled):
        try:
            context.check()
        except Exception:
            raise AssertionError from None


def test_frequent_progress_is_thinned_but_metrics_are_not(context: WorkerContext) -> None:
    for done in range(200):
        context.progress(done, 1000)
        context.progress(done, 1000, loss=0.5)
    kinds = [event["type"] for event in read_events(context.folder)[0]]
    assert kinds.count("metric") == 200 and kinds.count("progress") <= 20


def test_the_last_step_of_a_stage_is_always_told(context: WorkerContext) -> None:
    for done in range(1, 11):
        context.progress(done, 10)
    assert [event["done"] for event in read_events(context.folder)[0]][-1] == 10


def test_a_new_stage_begins_at_nothing(context: WorkerContext) -> None:
    context.progress(7, 10)
    context.stage("evaluate", 2, 3)
    status = read_status(context.folder, 3)
    assert status is not None
    assert (status.stage, status.stage_index, status.stage_count, status.done, status.total) == ("evaluate", 2, 3, 0, 0)


def test_the_status_of_another_attempt_is_no_news(context: WorkerContext) -> None:
    context.stage("first", 1, 1)
    assert read_status(context.folder, 2) is None and read_status(context.folder, 4) is None


def test_last_words_are_heard_when_the_status_cannot_be_replaced(context: WorkerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    context.stage("first", 1, 1)

    def full(path: Path, value: object) -> None:
        raise PrerequisiteError("The disk is full.")

    monkeypatch.setattr(files, "write_json", full)
    with pytest.raises(PrerequisiteError):
        write_status(context.folder, replace(context.status, done=5))
    size = (context.folder / files.LAST_WORDS).stat().st_size
    context.end("failed", "Free some space. ä" * 500)
    status = read_status(context.folder, 3)
    assert status is not None and status.state == "failed" and status.message.startswith("Free some space. ä")
    assert (context.folder / files.LAST_WORDS).stat().st_size == size


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"attempt": 3}', b'{"attempt": 3, "pid": 1, "born": "", "unknown": 1}', b"\xff"])
def test_a_status_that_cannot_be_read_is_no_news(context: WorkerContext, content: bytes) -> None:
    (context.folder / files.FILE).write_bytes(content)
    assert read_status(context.folder, 3) is None


def test_signs_of_life_are_seen_and_missing_ones_counted(context: WorkerContext) -> None:
    files.beat(context.folder)
    now = (context.folder / files.HEARTBEAT).stat().st_mtime
    assert files.silent_for(context.folder, now + 42) == pytest.approx(42)
    assert files.silent_for(context.folder, now - 42) == 0
    (context.folder / files.HEARTBEAT).unlink()
    assert files.silent_for(context.folder, now) == 0
