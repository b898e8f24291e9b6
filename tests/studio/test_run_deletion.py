"""A run is deleted with all that only it has, or not at all; what a job or chat needs stays."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from reft_studio import failpoints
from reft_studio.chat import loaded
from reft_studio.errors import StoreError
from reft_studio.jobs.queue import JobQueue
from reft_studio.jobs.run_jobs import became
from reft_studio.store import jobs as table
from reft_studio.store import removals, run_notes
from reft_studio.studio.runs import Runs
from reft_studio.studio.studio import Studio
from reft_studio.training.run_folder import checkpoint_folder
from reft_studio.workspace import Workspace, discard, sweep
from tests.commands import Command
from tests.ui.finished_runs import answer_like, write_attempt, write_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def history(workspace: Workspace) -> Runs:
    return Studio(workspace).runs


@pytest.fixture
def run(workspace: Workspace) -> str:
    """A finished run, evaluated, with a name."""
    made = write_run(workspace, "sft")
    answer_like(workspace, made, "sft")
    run_notes.write(workspace, made, name="the baseline")
    return made


def left(workspace: Workspace, run: str) -> list[str]:
    """Folders of the workspace that are named after a run, or were on their way out."""
    found = [*workspace.root.glob(f"*/*{run}*"), *workspace.root.glob("*/*.tmp-*")]
    return sorted(path.relative_to(workspace.root).as_posix() for path in found)


def test_all_that_only_the_run_has_goes_and_is_named_before(history: Runs, workspace: Workspace, run: str) -> None:
    other = write_run(workspace, "sft", seed=1)
    plan = history.deletion(run)
    assert plan.held == "" and len(plan.parts) == 3
    assert plan.sentence.startswith("Delete 'the baseline'? Its adapter and log (")
    assert plan.sentence.endswith("), its evaluation (80 graded answers) and its name, tags and note go for good.")
    assert history.delete(run) == plan
    assert left(workspace, run) == [] and run not in run_notes.every(workspace)
    assert [one.run_id for one in history.every()] == [other]
    with pytest.raises(StoreError, match="may have been deleted"):
        history.delete(run)
    again = write_run(workspace, "sft")
    assert again == run and history.find(run).title == "Plain SFT, seed 0", "who does it again finds nothing of before"


def test_an_unfinished_run_goes_with_its_checkpoints_and_jobs(history: Runs, workspace: Workspace) -> None:
    run, first = write_attempt(workspace, "failed")
    _, second = write_attempt(workspace, "cancelled", kept=True)
    plan = history.delete(run)
    assert "What its training kept up to step 10" in plan.sentence and "what its job printed" in plan.sentence
    assert left(workspace, run) == [] and history.every() == [] and history.jobs.list() == []
    assert not any(workspace.folder("jobs", job).exists() for job in (first, second))
    assert not checkpoint_folder(workspace, run).exists()


def test_a_job_that_followed_an_ended_one_stays_and_one_that_waits_for_it_keeps_it(history: Runs, workspace: Workspace) -> None:
    run, job = write_attempt(workspace, "failed")
    follower = history.jobs.submit("evaluate", {"subject": "base--lab"}, title="Evaluate the base", after=job)
    with pytest.raises(StoreError, match="'Evaluate the base' waits for it"):
        history.delete(run)
    history.jobs.cancel(follower)
    history.delete(run)
    assert [(one.id, one.after) for one in table.listing(workspace, 9)] == [(follower, None)]


@pytest.mark.parametrize("state", ["running", "queued", "paused"])
def test_a_run_whose_job_is_not_over_stays(history: Runs, workspace: Workspace, state: str) -> None:
    run, job = write_attempt(workspace, state)
    plan = history.deletion(run)
    assert "Cancel its job in the queue first." in plan.held
    with pytest.raises(StoreError, match="Cancel its job"):
        history.delete(run)
    assert history.jobs.get(job).state == state


@pytest.mark.parametrize(
    ("kind", "params"),
    [("evaluate", {"subject": "RUN"}), ("regrade", {"subjects": ["base--lab", "RUN"], "judge": {"name": "refusal_phrases"}})],
)
def test_a_run_that_a_waiting_job_needs_stays_whole(
    history: Runs, workspace: Workspace, run: str, kind: str, params: dict[str, Any]
) -> None:
    asked = {
        name: run if value == "RUN" else [run if one == "RUN" else one for one in value] if name == "subjects" else value
        for name, value in params.items()
    }
    job = history.jobs.submit(kind, asked, title="Grade")
    before = left(workspace, run)
    with pytest.raises(StoreError, match="The job 'Grade' waits in the queue and needs 'the baseline'"):
        history.delete(run)
    assert left(workspace, run) == before and run_notes.every(workspace)[run].name == "the baseline"
    history.jobs.cancel(job)
    history.delete(run)
    assert left(workspace, run) == []


def test_a_run_that_was_stopped_and_saved_is_held_by_the_job_that_still_grades_it(history: Runs, workspace: Workspace, run: str) -> None:
    asked, job = write_attempt(workspace, "running", seed=4)
    became(workspace, job, asked=asked, run=run)
    assert history.find(run).state == "evaluating"
    with pytest.raises(StoreError, match="is on its way"):
        history.delete(run)


def test_a_whole_demo_that_is_on_its_way_holds_the_runs_of_its_base(history: Runs, workspace: Workspace, run: str) -> None:
    history.jobs.submit("demo", {}, title="First audit")
    assert history.deletion(run).held == "", "one that waits trains what it lacks"
    assert table.claim(workspace, now=time.time()) is not None
    assert "'First audit' is on its way and may need" in Studio(Workspace(workspace.root)).runs.deletion(run).held


def test_a_run_that_chat_has_in_memory_stays_until_chat_lets_go(history: Runs, workspace: Workspace, run: str) -> None:
    loaded.tell(workspace, {run, "base--lab"})
    with pytest.raises(StoreError, match="Chat has 'the baseline' in memory"):
        history.delete(run)
    path = workspace.root / loaded.FILE
    path.write_text(path.read_text("utf-8").replace(f"{os.getpid()}@", "999999999@"), "utf-8")  # its process is gone
    history.delete(run)
    assert left(workspace, run) == []


def test_an_app_that_may_only_read_deletes_nothing(workspace: Workspace, run: str) -> None:
    first, second = Workspace.open(workspace.root, app=True), Workspace.open(workspace.root, app=True)
    assert first.writable and not second.writable
    with pytest.raises(StoreError):
        Studio(second).runs.delete(run)
    assert Studio(first).runs.find(run).title == "the baseline"


# --- killed in the middle ----------------------------------------------------------------------------------------------------------

DELETE = """
import sys
from pathlib import Path
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
Studio(Workspace(Path(sys.argv[1]))).runs.delete(sys.argv[2])
"""


@pytest.mark.parametrize("point", ["removal.between:1", "removal.between:2", "discard.between:1", "discard.between:2"])
def test_a_deletion_that_is_killed_is_ended_by_the_next_start(workspace: Workspace, run: str, point: str) -> None:
    environment = {**os.environ, failpoints.VARIABLE: point}
    done = subprocess.run([sys.executable, "-c", DELETE, str(workspace.root), run], cwd=ROOT, env=environment, timeout=120)
    assert done.returncode == -9 and left(workspace, run)
    Studio(Workspace.open(workspace.root))
    assert left(workspace, run) == [] and run not in run_notes.every(workspace)


def test_a_run_that_was_made_again_since_is_not_taken_for_the_deleted_one(workspace: Workspace, run: str) -> None:
    environment = {**os.environ, failpoints.VARIABLE: "discard.between:1"}  # its folder is aside, not gone
    subprocess.run([sys.executable, "-c", DELETE, str(workspace.root), run], cwd=ROOT, env=environment, timeout=120)
    assert write_run(workspace, "sft") == run
    Studio(Workspace.open(workspace.root))
    (found,) = Studio(workspace).runs.every()
    assert (found.run_id, found.title, found.hs) == (run, "Plain SFT", None)


def test_what_was_being_removed_never_comes_back_half(workspace: Workspace, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace.folder("runs", run)

    def die(path: Path, *, ignore_errors: bool) -> None:
        (path / "spec.json").unlink()
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("reft_studio.workspace.shutil.rmtree", die)
        with pytest.raises(SystemExit):
            discard(folder)
    assert not folder.exists()
    sweep(workspace.root, dead=os.getpid())
    assert left(workspace, run) == [f"evaluations/{run}"]


def test_nothing_is_left_to_remove_in_a_workspace_without_a_database(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    removals.finish_left(workspace)
    assert not workspace.database.exists()


# --- on the command line -----------------------------------------------------------------------------------------------------------


def test_the_verb_deletes_a_run_and_says_why_it_cannot(
    command: Command, workspace: Workspace, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--workspace", str(workspace.root))
    job = JobQueue(workspace).submit("evaluate", {"subject": run}, title="Grade")
    refused = command("delete", run, "--yes", *place)
    assert refused.code == 2 and "The job 'Grade' waits in the queue" in refused.err
    JobQueue(workspace).cancel(job)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    asked = command("delete", run, *place)
    assert (asked.code, "its evaluation (80 graded answers)" in asked.out) == (1, True)
    assert command("delete", run, "--yes", "--json", *place).json["name"] == "the baseline"
    assert "There is no dataset and no run" in command("delete", run, "--yes", *place).err
    assert left(workspace, run) == []
