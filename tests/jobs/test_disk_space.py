"""A full disk pauses a job; it goes on by itself once there is room. No file of a worker may grow here, which needs no rights."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reft_studio.errors import DiskFull, PrerequisiteError, StoreError
from reft_studio.jobs import disk_space
from reft_studio.jobs.disk_space import LEAST, Shortage
from reft_studio.jobs.queue import JobQueue
from reft_studio.store import jobs as table
from reft_studio.workspace import Workspace, disk_error

Until = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What is in this set when a disk is looked at makes it full."""
    signs = {"full"}
    monkeypatch.setattr("reft_studio.jobs.attempts.enough", lambda disk, need: not signs)
    return signs


@pytest.mark.parametrize("kind", ["needs_room", "no_room"])
def test_a_full_disk_pauses_the_job_which_goes_on_once_there_is_room(
    queue: JobQueue, workspace: Workspace, until: Until, full: set[str], kind: str
) -> None:
    done = queue.wait(queue.submit("count", {"to": 1}, title="earlier"), timeout_s=20)
    job_id = queue.submit(kind, {}, title=kind)
    queue.tick()
    until(lambda: queue.get(job_id).state == "paused")
    view = queue.get(job_id)
    assert view.waits == "disk" and "It goes on by itself once" in view.message and "MB are free there" in view.message
    assert not (workspace.root / "runs" / "big").exists() and queue.get(done.id) == done
    queue.tick()
    assert queue.get(job_id).state == "paused"
    (workspace.root / "room").touch()
    full.clear()
    view = queue.wait(job_id, timeout_s=20) if kind == "needs_room" else until(lambda: (queue.tick(), queue.get(job_id))[1])
    assert view.attempt == 2 or view.state == "queued"


def test_a_job_that_finds_the_disk_full_again_and_again_waits_for_a_person(queue: JobQueue, until: Until, full: set[str]) -> None:
    full.clear()
    queue.attempts.crashes = 2
    job_id = queue.submit("needs_room", {}, title="job")

    def given_up() -> bool:
        queue.tick()
        return queue.get(job_id).waits == "person"

    until(given_up)
    assert "It met this 2 times in a row" in queue.get(job_id).message
    (queue.workspace.root / "room").touch()
    queue.resume(job_id)
    assert queue.wait(job_id, timeout_s=20).state == "done"


def test_a_table_that_cannot_be_written_meanwhile_is_brought_up_to_date_later(
    queue: JobQueue, until: Until, full: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise StoreError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(table, "pause", refuse)
        job_id = queue.submit("needs_room", {}, title="job")
        queue.tick()
        until(lambda: queue.get(job_id).waits == "disk")
        assert table.get(queue.workspace, job_id).state == "running"
    assert queue.get(job_id).waits == "disk"
    full.clear()
    (queue.workspace.root / "room").touch()
    assert queue.wait(job_id, timeout_s=20).state == "done"


def test_a_job_that_the_app_cannot_start_for_want_of_room_waits_for_it(queue: JobQueue, full: set[str]) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    job_id = queue.submit("count", {"to": 1}, title="job")
    JobQueue(queue.workspace, start=refuse).tick()
    assert (queue.get(job_id).state, queue.get(job_id).waits) == ("paused", "disk")
    full.clear()
    assert queue.wait(job_id, timeout_s=20).state == "done"


def test_a_worker_that_had_no_room_for_a_word_waits_for_its_disk(
    queue: JobQueue, until: Until, full: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_space, "NOTHING_FITS", 1 << 62)
    job_id = queue.submit("dies", {"times": 1}, title="job")
    queue.tick()
    until(lambda: queue.get(job_id).waits == "disk")
    full.clear()
    assert queue.wait(job_id, timeout_s=20).state == "done"


def test_a_full_disk_is_known_however_a_library_words_it(tmp_path: Path) -> None:
    full = disk_error(tmp_path / "a", OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(full, DiskFull) and full.free > 0
    limited = disk_error(tmp_path / "a", OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert isinstance(limited, DiskFull) and limited.free == 0
    assert type(disk_error(tmp_path / "a", OSError(errno.EROFS, "Read-only file system"))) is PrerequisiteError
    wrapped = RuntimeError("could not save")
    wrapped.__cause__ = RuntimeError("I/O error: No space left on device (os error 28)")
    for error in (full, wrapped, OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "b")), OSError(errno.EFBIG, "")):
        found = Shortage.found(error, tmp_path)
        assert found is not None and found.need >= LEAST
    assert Shortage.found(RuntimeError("shapes differ"), tmp_path) is None
    assert Shortage.of(limited).need == LEAST


def test_room_is_what_is_free_and_what_the_system_lets_us_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk_space.enough(tmp_path, 1) and not disk_space.enough(tmp_path, 1 << 62)

    def over_quota(*_: Any) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "posix_fallocate", over_quota)
    assert not disk_space.enough(tmp_path, 1)
