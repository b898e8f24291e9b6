"""Real worker processes, ended in every way a process can end."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from reft_studio.errors import PrerequisiteError, SpecError, StoreError
from reft_studio.jobs.process import Process
from reft_studio.jobs.queue import JobQueue, JobView
from reft_studio.store import jobs as table
from reft_studio.store.connection import transaction
from reft_studio.workspace import Workspace

Until = Callable[[Callable[[], Any]], Any]
Start = Callable[..., tuple[str, Process]]
Finish = Callable[..., JobView]


def leftovers(workspace: Workspace) -> list[str]:
    """Finished and temporary folders of runs."""
    return sorted(path.name for path in (workspace.root / "runs").glob("*"))


# --- ends ---------------------------------------------------------------------------------------------------------------------------


def test_a_job_gives_its_result_and_how_far_it_came(finished: Finish) -> None:
    view = finished("count", to=7)
    assert (view.state, view.result, view.message) == ("done", {"counted": 7}, "")
    assert (view.stage, view.stage_index, view.stage_count, view.done, view.total) == ("second", 2, 2, 7, 7)
    assert view.started is not None and view.finished is not None and view.started <= view.finished
    assert view.eta_s is None and view.rate is None and view.position is None


def test_every_metric_is_kept_and_given_from_an_offset_on(queue: JobQueue, finished: Finish) -> None:
    view = finished("count", to=5)
    metrics, offset = queue.metrics(view.id)
    assert [(event["stage"], event["done"], event["loss"]) for event in metrics] == [
        (stage, done, 1 / done) for stage in ("first", "second") for done in range(1, 6)
    ]
    assert queue.metrics(view.id, offset) == ([], offset)
    assert [event["type"] for event in queue.events(view.id)] == [
        "state",
        "stage",
        *5 * ["metric"],
        "stage",
        *5 * ["metric"],
        "warning",
        "state",
    ]


def test_a_problem_of_the_person_is_told_in_its_own_words(finished: Finish) -> None:
    view = finished("refuses")
    assert view.state == "failed"
    assert view.message == "poison_ratio is 7, but it is a share of the user data: give 0 to 1."


def test_a_fault_of_ours_is_named_without_the_text_it_carries(queue: JobQueue, finished: Finish) -> None:
    view = finished("breaks")
    assert view.state == "failed"
    assert view.message.startswith("unexpected: KeyError") and "text of a row" not in view.message
    assert "Traceback" in queue.log(view.id)


def test_too_little_memory_is_said_so(finished: Finish) -> None:
    view = finished("memory")
    assert view.state == "failed" and "memory" in view.message


def test_a_full_database_disk_still_shows_how_the_job_ended(queue: JobQueue, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise PrerequisiteError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(table, "finish", full)
        job_id = queue.submit("count", {"to": 3}, title="count")
        queue.tick()
        until(lambda: queue.get(job_id).state == "done")
        assert table.get(queue.workspace, job_id).state == "running"
    assert queue.get(job_id).result == {"counted": 3}
    assert table.get(queue.workspace, job_id).state == "done"


def test_an_unknown_kind_is_refused_before_it_is_queued(queue: JobQueue) -> None:
    with pytest.raises(SpecError, match=r"There is no job kind 'nonsense'\. Choose one of: import"):
        queue.submit("nonsense", {}, title="")
    assert queue.list() == []


def test_parameters_that_are_not_json_are_refused(queue: JobQueue) -> None:
    with pytest.raises(SpecError, match="cannot be kept as JSON"):
        queue.submit("count", {"to": object()}, title="")


def test_a_job_that_does_not_exist_is_said_not_to(queue: JobQueue) -> None:
    for ask in (queue.get, queue.cancel, queue.retry, queue.metrics, queue.log):
        with pytest.raises(StoreError, match="There is no job 'count-0'"):
            ask("count-0")


# --- death --------------------------------------------------------------------------------------------------------------------------


def test_a_job_whose_worker_died_goes_on_by_itself_and_says_so(queue: JobQueue, started: Start, until: Until) -> None:
    job_id, process = started("climbs", to=7, stop_at=3)
    until(lambda: queue.get(job_id).done == 3)
    process.kill()
    until(lambda: queue.get(job_id).state == "queued")
    assert [event["done"] for event in queue.metrics(job_id)[0]] == [1, 2, 3]
    assert (queue.get(job_id).position, queue.get(job_id).message) == (1, "Went on after its process ended.")
    queue.tick()
    until(lambda: queue.get(job_id).done == 4)  # from what the attempt before kept
    assert queue.get(job_id).message == "Went on after its process ended (attempt 2)."
    (queue.workspace.folder("jobs", job_id) / "go").touch()
    view = queue.wait(job_id, timeout_s=20)
    assert (view.state, view.result, view.attempt) == ("done", {"counted": 7}, 2)
    assert [event["done"] for event in queue.metrics(job_id)[0]] == [*range(1, 8)], "its attempts are one curve"


def test_a_job_that_dies_again_and_again_ends_and_may_be_tried_again(queue: JobQueue, finished: Finish) -> None:
    queue.attempts.crashes = 3
    view = finished("dies", times=4)
    assert (view.state, view.stage, view.attempt) == ("interrupted", "dying", 3)
    assert "ended 3 times in a row" in view.message and "Try it again" in view.message
    queue.retry(view.id)
    assert queue.wait(view.id, timeout_s=20).result == {"lives": 4}


def test_a_long_life_ends_a_row_of_deaths(queue: JobQueue, finished: Finish, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.attempts.crashes = 2
    monkeypatch.setattr("reft_studio.jobs.attempts.SHORT_S", 0.0)
    assert finished("dies", times=3).state == "done"


def test_kill_9_at_random_moments_never_leaves_a_job_running_or_a_folder_half_written(
    queue: JobQueue, workspace: Workspace, until: Until
) -> None:
    moments = random.Random(0)

    def kill_one(job_id: str) -> None:
        queue.tick()
        process = Process.parse(until(lambda: table.get(workspace, job_id).worker))
        end = time.monotonic() + moments.uniform(0.0, 0.4)
        while time.monotonic() < end:
            queue.get(job_id)
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: queue.get(job_id).state == "queued")
        assert not process.alive()
        queue.pause(job_id)

    for _ in range(12):
        job_id = queue.submit("writes", {}, title="writes")
        kill_one(job_id)
        for folder in workspace.finished("runs"):
            assert (folder / "a").read_text() == (folder / "b").read_text()
        assert [name for name in leftovers(workspace) if ".tmp-" in name] == []
        numbers = [event["number"] for event in queue.metrics(job_id)[0]]
        assert numbers == [*range(len(numbers))]


def test_a_worker_that_hangs_is_said_to_and_can_be_cancelled(
    queue: JobQueue, started: Start, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reft_studio.jobs.view.STALE_S", 0.05)
    job_id, process = started("stopped")
    assert until(lambda: queue.get(job_id).message).startswith("No sign of life for")
    assert queue.get(job_id).state == "running"
    queue.cancel(job_id)
    assert until(lambda: queue.get(job_id).state != "running") and queue.get(job_id).state == "cancelled"
    assert not process.alive()


def test_sigterm_from_the_system_cleans_up_and_the_job_goes_on(queue: JobQueue, workspace: Workspace, started: Start, until: Until) -> None:
    job_id, process = started("endless")
    os.kill(process.pid, signal.SIGTERM)
    until(lambda: queue.get(job_id).state == "queued")
    assert leftovers(workspace) == []
    queue.tick()
    until(lambda: queue.get(job_id).message == "Went on after the system stopped it (attempt 2).")


def test_a_claim_whose_app_died_before_starting_a_worker_goes_on_after_a_while(queue: JobQueue, workspace: Workspace) -> None:
    job_id = queue.submit("count", {"to": 1}, title="count")
    assert table.claim(workspace, now=time.time()) is not None
    assert queue.get(job_id).state == "running"
    other = queue.submit("count", {"to": 1}, title="count")
    assert table.claim(workspace, now=time.time()) is None
    table.finish(workspace, other, 0, "done", message="", result=None, now=0.0)  # not running: changes nothing
    assert queue.get(other).state == "queued"
    with transaction(workspace) as connection:
        connection.execute("UPDATE jobs SET started = 0 WHERE id = ?", (job_id,))
    assert (queue.get(job_id).state, queue.get(job_id).position) == ("queued", 1)


# --- cancelling ---------------------------------------------------------------------------------------------------------------------


def test_cancelling_leaves_no_half_written_folder(queue: JobQueue, workspace: Workspace, started: Start, until: Until) -> None:
    job_id, process = started("endless")
    assert any(".tmp-" in name for name in leftovers(workspace))
    queue.cancel(job_id)
    until(lambda: queue.get(job_id).state == "cancelled")
    assert leftovers(workspace) == [] and not process.alive()


def test_a_job_that_never_looks_is_interrupted_where_it_stands(workspace: Workspace, queue: JobQueue, started: Start, until: Until) -> None:
    queue.attempts.grace_s = 30.0  # so that it is the worker itself that ends, with its clean-up, and not the queue that kills it
    job_id, _ = started("deaf")
    queue.cancel(job_id)
    until(lambda: queue.get(job_id).state == "cancelled")
    assert leftovers(workspace) == []


def test_after_the_grace_time_the_whole_process_group_is_killed(
    queue: JobQueue, workspace: Workspace, started: Start, until: Until
) -> None:
    job_id, process = started("silent_child")
    child = Process.of(int((workspace.folder("jobs", job_id) / "child").read_text()))
    assert child is not None
    queue.cancel(job_id)
    until(lambda: queue.get(job_id).state == "cancelled")
    until(lambda: not child.alive() and not process.alive())


def test_a_queued_job_is_cancelled_at_once_and_never_runs(queue: JobQueue, workspace: Workspace) -> None:
    job_id = queue.submit("count", {"to": 1}, title="count")
    queue.cancel(job_id)
    queue.tick()
    assert queue.get(job_id).state == "cancelled"
    assert not workspace.folder("jobs", job_id).exists()


def test_cancelling_a_job_that_has_ended_changes_nothing(queue: JobQueue, finished: Finish) -> None:
    view = finished("count", to=1)
    queue.cancel(view.id)
    assert queue.get(view.id) == view


def test_cancelling_between_claim_and_start_is_heeded(
    queue: JobQueue, workspace: Workspace, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = queue.submit("endless", {}, title="endless")
    start = queue._start

    def cancel_first(record: table.JobRecord) -> None:
        queue.cancel(record.id)
        start(record)

    monkeypatch.setattr(queue, "_start", cancel_first)
    queue.tick()
    until(lambda: queue.get(job_id).state == "cancelled")
