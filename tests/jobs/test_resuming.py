"""A worker that dies in the middle of a training is started again by the queue, and leaves what an unbroken one leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_studio import failpoints, fingerprint
from reft_studio.failpoints import NAMES, failpoint
from reft_studio.jobs.queue import JobQueue
from reft_studio.models.session import Session
from reft_studio.models.spec import OptimSpec
from reft_studio.progress import Silent
from reft_studio.training.run import train
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace
from tests.tiny_models import make_toy_data

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_whose_worker_is_killed_goes_on_by_itself_and_ends_with_the_same_adapter(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = Workspace.open(tmp_path / "whole"), Workspace.open(tmp_path / "killed")
    data = make_toy_data(whole)
    make_toy_data(killed)
    spec = RunSpec(model=str(tiny_model), dataset=data["user"].id, method="sft", optim=OptimSpec(steps=5, batch_size=4))
    expected = train(whole, spec, Session.open(spec.model), Silent())
    monkeypatch.setenv(failpoints.VARIABLE, "training.step:4")  # a worker of its own counts anew: the second does two steps and ends
    monkeypatch.setenv("REFT_STUDIO_CHECKPOINT_S", "0")
    queue = JobQueue(killed)
    job = queue.submit("run", {"spec": spec.model_dump(mode="json")}, title="Plain SFT")
    assert queue.wait(job, timeout_s=240).state == "done"
    assert any("goes on after step 3" in event.get("message", "") for event in queue.events(job))
    adapters = [workspace.folder("runs", spec.run_id) / "adapter" / "adapter_model.safetensors" for workspace in (whole, killed)]
    assert fingerprint.of_file(adapters[0]) == fingerprint.of_file(adapters[1]) and expected.run_id == spec.run_id


def test_every_failpoint_is_somewhere_in_the_code_and_none_is_unnamed() -> None:
    code = "".join(path.read_text("utf-8") for path in (ROOT / "reft_studio").rglob("*.py") if path.name != "failpoints.py")
    assert [name for name in NAMES if f'"{name}"' not in code] == []


def test_a_failpoint_does_nothing_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(failpoints.VARIABLE, raising=False)
    failpoint("training.step")
    monkeypatch.setenv(failpoints.VARIABLE, "write.before:1")
    failpoint("training.step")
