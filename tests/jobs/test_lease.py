from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reft_studio.errors import PrerequisiteError
from reft_studio.jobs.job import JobCancelled
from reft_studio.jobs.lease import FILE, hold, holder
from reft_studio.workspace import Workspace

HOLDING = """
import sys
from pathlib import Path
from reft_studio.jobs.lease import hold
from reft_studio.workspace import Workspace
with hold(Workspace(Path(sys.argv[1])), "training run 3f2a"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path)


def test_nobody_holds_the_device_before_and_after(workspace: Workspace) -> None:
    assert holder(workspace) is None
    with hold(workspace, "chat") as mine:
        assert holder(workspace) == mine and mine.what == "chat"
    assert holder(workspace) is None


def test_a_second_holder_is_told_who_has_it(workspace: Workspace) -> None:
    with hold(workspace, "training run 3f2a"):
        with pytest.raises(PrerequisiteError, match=r"in use by training run 3f2a \(process \d+\)"), hold(workspace, "chat"):
            raise AssertionError
        found = holder(workspace)
        assert found is not None and found.what == "training run 3f2a"


def test_waiting_can_be_cancelled(workspace: Workspace) -> None:
    def cancelled() -> None:
        raise JobCancelled

    with hold(workspace, "chat"), pytest.raises(JobCancelled), hold(workspace, "training", wait_s=60, check=cancelled):
        raise AssertionError


def test_an_error_inside_gives_the_device_back(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="ours"), hold(workspace, "chat"):
        raise ValueError("ours")
    assert holder(workspace) is None


def test_a_holder_that_is_killed_gives_the_device_back(workspace: Workspace) -> None:
    command = [sys.executable, "-c", HOLDING, str(workspace.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None and child.stdout.readline() == b"held\n"
        found = holder(workspace)
        assert found is not None and (found.what, found.pid) == ("training run 3f2a", child.pid)
        child.kill()
        child.wait()
        with hold(workspace, "chat", wait_s=10):
            assert holder(workspace) is not None
    assert "chat" not in (workspace.root / FILE).read_text()
