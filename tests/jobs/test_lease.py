from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from reft_studio.errors import PrerequisiteError
from reft_studio.jobs.job import JobCancelled
from reft_studio.jobs.lease import Holder, hold, holder
from reft_studio.workspace import Workspace

HOLDING = """
import sys
from pathlib import Path
from reft_studio.jobs.lease import hold
from reft_studio.workspace import Workspace
with hold(Workspace(Path(sys.argv[1])), "cpu", "training run 3f2a"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_nobody_holds_the_device_before_and_after(workspace: Workspace) -> None:
    assert holder(workspace, "cpu") is None
    with hold(workspace, "cpu", "chat") as mine:
        assert holder(workspace, "cpu") == mine and mine.what == "chat"
    assert holder(workspace, "cpu") is None


def test_a_second_holder_is_told_who_has_it(workspace: Workspace) -> None:
    with hold(workspace, "cpu", "training run 3f2a"):
        with pytest.raises(PrerequisiteError, match=r"in use by training run 3f2a \(process \d+\)"), hold(workspace, "cpu", "chat"):
            raise AssertionError
        found = holder(workspace, "cpu")
        assert found is not None and found.what == "training run 3f2a"


def test_waiting_can_be_cancelled(workspace: Workspace) -> None:
    def cancelled(found: Holder | None) -> None:
        assert found is not None and found.what == "chat"
        raise JobCancelled

    with hold(workspace, "cpu", "chat"), pytest.raises(JobCancelled), hold(workspace, "cpu", "training", wait_s=60, waiting=cancelled):
        raise AssertionError


def test_an_error_inside_gives_the_device_back(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="ours"), hold(workspace, "cpu", "chat"):
        raise ValueError("ours")
    assert holder(workspace, "cpu") is None


def test_a_holder_that_is_killed_gives_the_device_back(workspace: Workspace) -> None:
    command = [sys.executable, "-c", HOLDING, str(workspace.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None and child.stdout.readline() == b"held\n"
        found = holder(workspace, "cpu")
        assert found is not None and (found.what, found.pid) == ("training run 3f2a", child.pid)
        child.kill()
        child.wait()
        with hold(workspace, "cpu", "chat", wait_s=10):
            assert holder(workspace, "cpu") is not None
    assert "chat" not in (workspace.root / "device-cpu.lock").read_text()


def test_each_device_has_a_holder_of_its_own(workspace: Workspace) -> None:
    with hold(workspace, "cuda:0", "one", job="run-1"), hold(workspace, "cuda:1", "two"):
        first, second = holder(workspace, "cuda:0"), holder(workspace, "cuda:1")
        assert first and second and (first.what, first.job, second.what, second.job) == ("one", "run-1", "two", None)


def test_who_waits_first_has_the_device_before_one_that_comes_later(workspace: Workspace) -> None:
    """A job that gives way to chat, and is started again at once, does not take the device back before chat has had it."""
    order: list[str] = []
    waits = threading.Event()

    def take(name: str) -> None:
        with hold(workspace, "cpu", name, wait_s=30, waiting=lambda holder: waits.set()):
            order.append(name)

    with hold(workspace, "cpu", "job"):
        chat = threading.Thread(target=take, args=("chat",))
        chat.start()
        assert waits.wait(10)
        job = threading.Thread(target=take, args=("job again",))
        job.start()
    for thread in (chat, job):
        thread.join()
    assert order == ["chat", "job again"]
