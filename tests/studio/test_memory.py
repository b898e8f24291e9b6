"""Before a job is queued, memory is compared with what the model needs, without loading a model library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reft_studio.data.dataset import write_dataset
from reft_studio.errors import PrerequisiteError
from reft_studio.models.memory import MemoryWork, Room
from reft_studio.models.spec import LoadSpec
from reft_studio.studio import memory
from reft_studio.studio.memory import UNKNOWN, be_there, fit
from reft_studio.studio.run_form import RunForm
from reft_studio.studio.studio import Studio
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.workspace import Workspace

WORK = MemoryWork(rows=36, length=512, rank=16)


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says how much memory is free."""

    def say(free: float, *, device: str = "cpu") -> None:
        monkeypatch.setattr(memory, "_room", lambda *_: Room(device, free, 16e9))

    return say


def test_a_model_that_fits_says_what_it_takes(space: Any) -> None:
    space(8e9)
    assert fit("lab", LoadSpec()).memory == "about 8 MB of 16.0 GB on cpu"
    assert fit("lab", LoadSpec(), WORK).warning == ""


def test_full_length_rows_that_may_not_fit_are_a_warning(space: Any) -> None:
    space(100e6)
    assert "Batches of 36 rows need up to" in fit("lab", LoadSpec(), WORK).warning


def test_a_gpu_run_takes_of_the_machines_own_memory_too(space: Any) -> None:
    work = MemoryWork(rows=36, length=512, rank=16, total_tokens=100_000_000)
    space(8e9, device="cuda:0")
    found = fit("lab", LoadSpec(), work)
    assert found.host is not None and found.host.needed.rows == 4.4e9 and found.warnings == []
    space(5e9, device="cuda:0")
    (told,) = fit("lab", LoadSpec(), work).warnings
    assert "about 6.4 GB of the machine's own memory, of which 5.0 GB are free. Train on fewer rows" in told
    space(1e9, device="cuda:0")
    assert fit("lab", LoadSpec(), WORK).warnings[0].endswith("Close other programs.")
    space(8e9)
    assert fit("lab", LoadSpec(), work).host is None, "without a GPU it is the memory of the model"


def test_a_model_that_the_job_will_download_is_not_guessed(space: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    space(1.0)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    be_there("someone/some-model", LoadSpec())
    assert fit("someone/some-model", LoadSpec()) == UNKNOWN


def test_what_is_no_model_is_said_before_a_job_is_queued(tmp_path: Path) -> None:
    for model, told in (
        (str(tmp_path), "no config.json"),
        ("/nowhere", "no model folder"),
        ("<b>x", "neither a folder"),
        ("a/b", "offline"),
    ):
        with pytest.raises(PrerequisiteError, match=told):
            be_there(model, LoadSpec())


def test_runs_and_teachers_that_cannot_fit_are_not_queued(space: Any, workspace: Workspace) -> None:
    studio = Studio(workspace)
    rows: list[Any] = [{"prompt": f"question {at}", "response": "answer"} for at in range(40)]
    user = write_dataset(workspace, rows, name="user data", role="user", extra={"task": "topic"})
    space(8e9)
    planned = studio.runs.plan(RunForm(dataset=user.id, method="sft"))
    assert planned.fit.memory.endswith("by the lengths of the rows") and planned.spec.loading == LoadSpec()
    space(1e6)
    with pytest.raises(PrerequisiteError, match="'lab' needs about .* in float32, but 1 MB of 16.0 GB are free"):  # noqa: RUF043
        studio.runs.start(RunForm(dataset=user.id, method="sft"))
    sets = {name: user.id for name in ("harmful", "helpful", "calibration_harmful", "calibration_harmless")}
    with pytest.raises(PrerequisiteError, match="'lab' needs about"):
        studio.teachers.prepare(TeacherSpec(model="lab", **sets))
    assert studio.jobs.list() == []
