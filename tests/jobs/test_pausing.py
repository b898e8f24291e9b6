"""Pausing, resuming, ending a training early, the order, trying again; the work is done by real worker processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reft_studio.errors import SpecError
from reft_studio.jobs.process import Process
from reft_studio.jobs.queue import JobQueue, JobView
from reft_studio.workspace import Workspace

Until = Callable[[Callable[[], Any]], Any]
Start = Callable[..., tuple[str, Process]]
Finish = Callable[..., JobView]


def go(workspace: Workspace, job_id: str) -> None:
    """Let a climbing job climb on."""
    (workspace.folder("jobs", job_id) / "go").touch()


def test_a_running_job_pauses_and_goes_on_where_it_was(queue: JobQueue, workspace: Workspace, started: Start, until: Until) -> None:
    job_id, process = started("climbs", to=6, stop_at=2)
    other = queue.submit("endless", {}, title="other")
    queue.pause(job_id)
    until(lambda: queue.get(job_id).state == "paused")
    assert not process.alive()
    view = queue.get(job_id)
    assert (view.waits, view.message) == ("person", "Paused. Resume it, and it goes on from what it kept.")
    queue.tick()
    assert queue.get(other).state == "running" and queue.get(job_id).state == "paused"
    waiting = queue.submit("count", {"to": 1}, title="waiting")
    queue.resume(job_id)
    assert (queue.get(job_id).position, queue.get(waiting).position) == (1, 2)
    queue.cancel(other)
    go(workspace, job_id)
    ended = queue.wait(job_id, timeout_s=20)
    assert (ended.result, ended.attempt) == ({"counted": 6}, 2)
    assert next(event["done"] for event in queue.events(job_id) if event["type"] == "metric") == 3


def test_a_queued_job_is_held_back_until_it_is_resumed(queue: JobQueue) -> None:
    held, other = (queue.submit("count", {"to": 1}, title=name) for name in ("held", "other"))
    queue.pause(held)
    assert queue.wait(other, timeout_s=20).state == "done" and queue.get(held).state == "paused"
    assert queue.get(held).message == "Held back. Resume it, and it is the next."
    queue.resume(held)
    assert queue.wait(held, timeout_s=20).state == "done"


def test_a_paused_job_can_be_cancelled_and_is_in_the_list(queue: JobQueue) -> None:
    held = queue.submit("count", {"to": 1}, title="held")
    queue.pause(held)
    assert [view.id for view in queue.list(0)] == [held]
    queue.cancel(held)
    assert queue.get(held).state == "cancelled"


def test_cancelling_overrules_a_pause(queue: JobQueue, started: Start, until: Until) -> None:
    job_id, _ = started("deaf")
    queue.pause(job_id)
    assert queue.get(job_id).message.startswith("Pausing")
    queue.cancel(job_id)
    until(lambda: queue.get(job_id).state == "cancelled")


def test_one_that_does_not_heed_its_pause_is_ended_and_counts_as_paused(queue: JobQueue, started: Start, until: Until) -> None:
    queue.attempts.pause_grace_s = 0.2
    job_id, process = started("silent_child")
    queue.pause(job_id)
    until(lambda: queue.get(job_id).state == "paused")
    assert not process.alive()


def test_a_job_that_gives_way_is_the_next_again(queue: JobQueue, workspace: Workspace, started: Start, until: Until) -> None:
    job_id, _ = started("climbs", to=6, stop_at=2)
    queue.submit("count", {"to": 1}, title="later")
    queue.give_way(job_id)
    until(lambda: queue.get(job_id).state == "queued")
    assert queue.get(job_id).position == 1
    go(workspace, job_id)
    assert queue.wait(job_id, timeout_s=20).result == {"counted": 6}


def test_a_training_can_be_ended_early_and_is_kept(
    queue: JobQueue, workspace: Workspace, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFT_STUDIO_EXTRA_KINDS", "run=job_kinds_for_tests:climbs")
    job_id = queue.submit("run", {"to": 9, "stop_at": 2}, title="run")
    queue.tick()
    until(lambda: queue.get(job_id).done == 2)
    queue.stop_and_save(job_id)
    view = queue.wait(job_id, timeout_s=20)
    assert (view.state, view.result) == ("done", {"counted": 2, "early": True})


def test_what_is_not_training_cannot_be_ended_early(queue: JobQueue, started: Start, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id, _ = started("endless")
    with pytest.raises(SpecError, match="is not training now"):
        queue.stop_and_save(job_id)
    queue.cancel(job_id)
    until(lambda: queue.get(job_id).state == "cancelled")
    monkeypatch.setenv("REFT_STUDIO_EXTRA_KINDS", "run=job_kinds_for_tests:early")
    run, _ = started("run")
    queue.stop_and_save(run)
    until(lambda: queue.get(run).state == "cancelled")
    assert "no training to stop" in queue.get(run).message


def test_a_job_is_made_the_first_in_one_step(queue: JobQueue) -> None:
    ids = [queue.submit("count", {"to": 1}, title=str(number)) for number in range(4)]
    queue.first(ids[3])
    assert [view.id for view in queue.list()] == [ids[3], *ids[:3]]


def test_trying_again_anew_forgets_what_was_kept(queue: JobQueue, workspace: Workspace, started: Start, until: Until) -> None:
    job_id, _ = started("climbs", to=5, stop_at=3)
    for anew, first in ((False, 4), (True, 1)):
        until(lambda: queue.get(job_id).done >= 3)
        queue.cancel(job_id)
        until(lambda: queue.get(job_id).state == "cancelled")
        queue.retry(job_id, anew=anew)
        queue.tick()
        until(lambda first=first: queue.get(job_id).done >= first)
        steps = [event["done"] for event in queue.events(job_id) if event["type"] == "metric"]
        assert steps[0] == first


def test_after_a_failure_the_rest_goes_on_or_is_held_back(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reft_studio.jobs.lanes.LIGHT", {"writes"})
    assert queue.after_failure == "go on"
    queue.set_after_failure("hold")
    failing = queue.submit("refuses", {}, title="Train")
    waiting, light = queue.submit("count", {"to": 1}, title="waiting"), queue.submit("writes", {"times": 1}, title="light")
    assert queue.wait(failing, timeout_s=20).state == "failed"
    assert queue.wait(light, timeout_s=20).state == "done"
    assert (queue.get(waiting).state, queue.get(waiting).message) == ("paused", "Held back, because “Train” failed. Resume it to go on.")
    queue.set_after_failure("go on")
    queue.retry(failing)
    queue.resume(waiting)
    queue.move(waiting, "down")
    assert queue.wait(waiting, timeout_s=20).state == "done"
    with pytest.raises(SpecError, match="choose 'go on' or 'hold'"):
        queue.set_after_failure("stop")
