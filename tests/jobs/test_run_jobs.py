"""A run that a person names while it trains keeps its name when the training is ended early and so becomes another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reft_studio.data.dataset import Dataset
from reft_studio.jobs.queue import JobQueue
from reft_studio.jobs.run_jobs import became, run_of
from reft_studio.models.spec import OptimSpec
from reft_studio.progress import Silent, StopEarly
from reft_studio.store import jobs as table
from reft_studio.store import run_notes
from reft_studio.tasks.train import train_run
from reft_studio.training.run_folder import list_runs
from reft_studio.training.run_names import titles
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace


class EndedEarly(Silent):
    """A job whose training a person ends after its second step."""

    anew = False

    def __init__(self, workspace: Workspace, job_id: str) -> None:
        super().__init__()
        self.workspace, self.job_id = workspace, job_id
        self._done = 0

    def progress(self, done: int, total: int, **metrics: float) -> None:
        self._done = done if metrics else 0

    def check(self) -> None:
        if self._done == 2:
            raise StopEarly


@pytest.fixture
def spec(toy_data: dict[str, Dataset], tiny_model: Path) -> RunSpec:
    optim = OptimSpec(steps=4, batch_size=4, learning_rate=5e-3)
    return RunSpec(model=str(tiny_model), dataset=toy_data["user"].id, method="sft", optim=optim)


def submitted(workspace: Workspace, spec: RunSpec) -> str:
    params: dict[str, Any] = {"spec": spec.model_dump(mode="json"), "suite": None}
    return JobQueue(workspace).submit("run", params, title="a run")


def test_name_tags_and_note_follow_a_run_that_is_stopped_and_saved(workspace: Workspace, spec: RunSpec) -> None:
    job = submitted(workspace, spec)
    run_notes.write(workspace, spec.run_id, name="the long one", tags=["june"], note="Watch its loss.")
    assert JobQueue(workspace).get(job).title == "the long one"
    context: Any = EndedEarly(workspace, job)
    result = train_run(context, table.get(workspace, job).params)
    (made,) = list_runs(workspace)
    assert made.run_id == result["run"] != spec.run_id and made.spec.stop_after == 2
    kept = run_notes.every(workspace)
    assert (kept[made.run_id].name, kept[made.run_id].tags, kept[made.run_id].note) == ("the long one", ("june",), "Watch its loss.")
    assert spec.run_id not in kept, "whoever does the whole run later names it anew"
    assert run_of(workspace, table.get(workspace, job)) == made.run_id and titles(workspace)[made.run_id] == "the long one"
    assert JobQueue(workspace).get(job).title == "the long one"


def test_what_was_said_of_the_ended_run_already_stays_and_carrying_twice_changes_nothing(workspace: Workspace) -> None:
    run_notes.write(workspace, "rold", name="old", tags=["june"], note="")
    run_notes.write(workspace, "rnew", name="new", note="seen")
    for _ in range(2):
        became(workspace, "run-1", asked="rold", run="rnew")
        (kept,) = run_notes.every(workspace).items()
        assert (kept[0], kept[1].name, kept[1].tags, kept[1].note) == ("rnew", "new", ("june",), "seen")


def test_a_job_that_is_to_begin_anew_makes_the_run_it_was_asked_for(workspace: Workspace, spec: RunSpec) -> None:
    job = submitted(workspace, spec)
    became(workspace, job, asked=spec.run_id, run="rshort")
    assert run_of(workspace, table.get(workspace, job)) == "rshort"
    JobQueue(workspace).cancel(job)
    JobQueue(workspace).retry(job, anew=True)
    assert run_of(workspace, table.get(workspace, job)) == spec.run_id


def test_runs_that_were_never_finished_have_names_and_lengthen_no_other(workspace: Workspace, spec: RunSpec) -> None:
    job = submitted(workspace, spec)
    assert titles(workspace) == {spec.run_id: "Plain SFT"}
    assert table.claim(workspace, now=1.0) is not None
    table.finish(workspace, job, 1, "failed", message="no", result=None, now=2.0)
    other = spec.model_copy(update={"seed": 3})
    submitted(workspace, other)
    assert titles(workspace) == {other.run_id: "Plain SFT", spec.run_id: "Plain SFT, seed 0"}
    run_notes.write(workspace, other.run_id, name="Plain SFT, seed 0")
    assert titles(workspace) == {other.run_id: "Plain SFT, seed 0", spec.run_id: f"Plain SFT, seed 0 ({spec.run_id})"}
