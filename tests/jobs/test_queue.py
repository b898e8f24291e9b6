"""The queue: order, dependencies, restarts, several at once; the work is done by real worker processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reft_studio.errors import SpecError, StoreError
from reft_studio.jobs.process import Process
from reft_studio.jobs.queue import JobQueue, JobView
from reft_studio.store import jobs as table
from reft_studio.store.connection import transaction
from reft_studio.workspace import Workspace

Until = Callable[[Callable[[], Any]], Any]
Start = Callable[..., tuple[str, Process]]
Finish = Callable[..., JobView]
ROOT = Path(__file__).resolve().parents[2]


def test_jobs_run_one_at_a_time_in_the_order_of_the_queue(queue: JobQueue, until: Until) -> None:
    ids = [queue.submit("count", {"to": 1}, title=str(number)) for number in range(4)]
    queue.move(ids[3], "up")
    queue.move(ids[0], "down")
    order = [ids[1], ids[0], ids[3], ids[2]]
    assert [(view.id, view.position) for view in queue.list()] == [(job_id, place) for place, job_id in enumerate(order, 1)]
    queue.move(order[0], "up")
    queue.move(order[3], "down")
    assert [view.id for view in queue.list()] == order

    def all_done() -> bool:
        queue.tick()
        assert sum(view.state == "running" for view in queue.list()) <= 1
        return all(view.state == "done" for view in queue.list())

    until(all_done)
    started_at = {view.id: view.started for view in queue.list()}
    assert sorted(ids, key=lambda job_id: started_at[job_id] or 0.0) == order


def test_of_many_queues_that_tick_at_once_one_starts_the_job(workspace: Workspace, queue: JobQueue, until: Until) -> None:
    job_id = queue.submit("count", {"to": 2}, title="count")
    others = [JobQueue(workspace) for _ in range(6)]
    threads = [threading.Thread(target=other.tick) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(other._children) for other in others) == 1
    until(lambda: queue.get(job_id).state == "done")
    assert table.get(workspace, job_id).attempt == 1

    def all_reaped() -> bool:
        for other in others:
            other.tick()
        return not any(other._children for other in others)

    until(all_reaped)


def test_a_restarted_app_finds_the_running_job_and_the_waiting_ones(
    workspace: Workspace, queue: JobQueue, started: Start, until: Until
) -> None:
    running, process = started("endless")
    waiting = queue.submit("count", {"to": 3}, title="count")
    again = JobQueue(Workspace.open(workspace.root), grace_s=0.5)
    assert [(view.id, view.state) for view in again.list()] == [(running, "running"), (waiting, "queued")]
    again.tick()
    assert process.alive() and again.get(waiting).state == "queued"
    again.cancel(running)
    assert again.wait(waiting, timeout_s=20).result == {"counted": 3}
    assert again.get(running).state == "cancelled"


APP = """
import sys, time
from pathlib import Path
from reft_studio.jobs.queue import JobQueue
from reft_studio.workspace import Workspace
queue = JobQueue(Workspace.open(Path(sys.argv[1])))
print(queue.submit("endless", {}, title="endless"), flush=True)
queue.start_background(0.01)
time.sleep(600)
"""


def test_a_job_outlives_the_app_that_started_it_even_when_that_is_killed(workspace: Workspace, queue: JobQueue, until: Until) -> None:
    with subprocess.Popen([sys.executable, "-c", APP, str(workspace.root)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as app:
        assert app.stdout is not None
        job_id = app.stdout.readline().strip()
        done = until(lambda: queue.get(job_id).done)
        app.kill()
    until(lambda: queue.get(job_id).done > done)
    assert queue.get(job_id).state == "running"
    queue.cancel(job_id)
    until(lambda: queue.get(job_id).state == "cancelled")


def test_a_job_waits_for_its_forerunner_while_others_pass(queue: JobQueue, until: Until) -> None:
    first = queue.submit("count", {"to": 1}, title="first")
    second = queue.submit("count", {"to": 1}, title="second", after=first)
    queue.move(second, "up")
    assert queue.wait(second, timeout_s=20).state == "done"
    assert (queue.get(first).finished or 0) <= (queue.get(second).started or 0)


def test_jobs_after_one_that_failed_are_cancelled_with_the_reason_and_come_back_with_it(queue: JobQueue) -> None:
    first = queue.submit("refuses", {}, title="Train")
    second = queue.submit("count", {"to": 1}, title="Evaluate", after=first)
    third = queue.submit("count", {"to": 1}, title="Report", after=second)
    assert queue.wait(third, timeout_s=20).state == "cancelled"
    assert queue.get(second).message == "It waited for 'Train', which failed. Try that one again, and this one follows."
    assert queue.get(third).message.startswith("It waited for 'Evaluate', which was cancelled.")
    queue.retry(first)
    assert [(view.title, view.state) for view in queue.list()] == [("Train", "queued"), ("Evaluate", "queued"), ("Report", "queued")]


def test_trying_again_starts_a_new_attempt_with_new_events(queue: JobQueue, finished: Finish, workspace: Workspace) -> None:
    view = finished("refuses")
    _, offset = queue.metrics(view.id)
    queue.retry(view.id)
    assert (queue.get(view.id).state, queue.get(view.id).stage, queue.get(view.id).position) == ("queued", "", 1)
    assert queue.wait(view.id, timeout_s=20).state == "failed"
    assert table.get(workspace, view.id).attempt == 2
    assert queue.metrics(view.id, offset)[1] > offset
    assert (workspace.folder("jobs", view.id) / "events-1.jsonl").is_file()


def test_an_offset_of_an_earlier_attempt_gives_the_new_attempts_metrics_from_the_start(
    queue: JobQueue, workspace: Workspace, finished: Finish
) -> None:
    view = finished("count", to=50)
    _, offset = queue.metrics(view.id)
    with transaction(workspace) as connection:
        connection.execute("UPDATE jobs SET state = 'interrupted', params = '{\"to\": 2}' WHERE id = ?", (view.id,))
    queue.retry(view.id)
    queue.wait(view.id, timeout_s=20)
    assert len(queue.metrics(view.id, offset)[0]) == 4


def test_only_what_did_not_end_well_can_be_tried_again(queue: JobQueue, finished: Finish) -> None:
    view = finished("count", to=1)
    with pytest.raises(SpecError, match=r"'count' is done\. Only a failed, cancelled or interrupted job"):
        queue.retry(view.id)


def test_a_job_cannot_wait_for_one_that_does_not_exist(queue: JobQueue) -> None:
    with pytest.raises(SpecError, match="There is no job 'run-1' to wait for"):
        queue.submit("count", {}, title="", after="run-1")


def test_the_background_thread_runs_the_queue_until_closed(queue: JobQueue, until: Until) -> None:
    before = set(threading.enumerate())
    queue.start_background(0.01)
    queue.start_background(0.01)  # a second call changes nothing
    job_id = queue.submit("count", {"to": 1}, title="count")
    until(lambda: queue.get(job_id).state == "done")
    queue.close()
    assert not any(thread.name == "job queue" for thread in set(threading.enumerate()) - before)
    queue.start_background(0.01)
    again = queue.submit("count", {"to": 1}, title="count")
    until(lambda: queue.get(again).state == "done")


def test_the_background_thread_survives_errors(queue: JobQueue, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[Exception] = [StoreError("busy"), RuntimeError("ours")]
    tick = queue.tick

    def failing() -> None:
        if faults:
            raise faults.pop()
        tick()

    monkeypatch.setattr(queue, "tick", failing)
    job_id = queue.submit("count", {"to": 1}, title="count")
    queue.start_background(0.01)
    until(lambda: queue.get(job_id).state == "done")


def test_a_worker_that_cannot_be_started_fails_the_job(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/does/not/exist")
    view = queue.wait(queue.submit("count", {"to": 1}, title="count"), timeout_s=20)
    assert view.state == "failed" and "No such file" in view.message


def test_workers_start_from_any_folder(tmp_path: Path, finished: Finish, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert finished("count", to=1).state == "done"


def test_a_worker_started_by_hand_for_a_job_that_is_not_running_does_nothing(queue: JobQueue, finished: Finish) -> None:
    from reft_studio.jobs.launch import launch

    view = finished("count", to=1)
    child = launch(queue.workspace, table.get(queue.workspace, view.id))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert "nothing to do" in queue.log(view.id)
    assert queue.get(view.id).state == "done"


def test_many_ended_jobs_do_not_hide_the_live_ones(queue: JobQueue) -> None:
    waiting = queue.submit("count", {"to": 1}, title="waiting")
    for number in range(5):
        queue.cancel(queue.submit("count", {"to": 1}, title=str(number)))
    assert [view.title for view in queue.list(2)] == ["waiting", "4", "3"]
    assert queue.list(2)[0].id == waiting
