"""A finished run becomes a folder that plain transformers loads: whole or not at all, and nothing of anybody's is written over."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from reft_studio import doctor, integrity
from reft_studio.data.dataset import Dataset
from reft_studio.errors import PrerequisiteError, SpecError, StoreError
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.jobs.queue import JobQueue
from reft_studio.models.session import Session
from reft_studio.models.spec import LoadSpec, OptimSpec
from reft_studio.progress import Silent
from reft_studio.studio.merged_models import MergedModels
from reft_studio.tasks.merge import loading_of, merge
from reft_studio.training.merged import merged_run
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace
from tests.commands import Command
from tests.models.trained import asked, logits
from tests.tiny_models import make_model


class Cancelled(BaseException):
    """The person cancelled."""


class Cancelling(ForegroundContext):
    """Cancels at the first sign of progress in a stage."""

    def __init__(self, workspace: Workspace, stage: str) -> None:
        super().__init__(workspace)
        self._at, self._now = stage, ""

    def stage(self, name: str, index: int, count: int) -> None:
        self._now = name

    def progress(self, done: int, total: int, **metrics: float) -> None:
        if self._now == self._at:
            raise Cancelled


def finetuned(workspace: Workspace, data: dict[str, Dataset], model: Path) -> RunInfo:
    """A run of a few steps."""
    optim = OptimSpec(steps=4, batch_size=4, learning_rate=5e-3)
    spec = RunSpec(model=str(model), dataset=data["user"].id, method="sft", optim=optim, loading=LoadSpec(dtype="float32"))
    return train(workspace, spec, Session.open(spec.model, loading=spec.loading), Silent())


@pytest.fixture
def run(workspace: Workspace, toy_data: dict[str, Dataset], tiny_model: Path) -> RunInfo:
    return finetuned(workspace, toy_data, tiny_model)


def said_by_the_app(run: RunInfo) -> torch.Tensor:
    session = Session.open(run.spec.model, loading=LoadSpec(device="cpu"))
    return logits(session, session.ensure("student", run.adapter))


def test_a_job_merges_a_run_and_the_folder_is_all_that_is_needed(workspace: Workspace, run: RunInfo) -> None:
    queue = JobQueue(workspace)
    merging = MergedModels(workspace, queue)
    assert merging.state(run.run_id).state == "possible"
    job = queue.wait(merging.start(run.run_id), timeout_s=240)
    assert job.state == "done" and job.result is not None, job.message
    folder = Path(job.result["path"])
    assert folder == workspace.folder("merged", run.run_id)
    assert (asked(AutoModelForCausalLM.from_pretrained(folder)) - said_by_the_app(run)).abs().max() < 1e-5
    assert integrity.damages(folder, wait=True) == [] and doctor.stored_files(workspace).ok
    card = (folder / "README.md").read_text("utf-8")
    assert "library_name: transformers" in card and "**Nothing has been measured.**" in card
    assert "[user] {prompt}\n[assistant]" in card, "how a request is put to it"
    found = merging.state(run.run_id)
    assert found.state == "made" and found.made is not None and found.made.dtype == "float32"
    assert not list(workspace.root.rglob("*.tmp-*"))


def test_merging_again_is_not_done_again_unless_in_another_number_format(workspace: Workspace, run: RunInfo) -> None:
    merge(ForegroundContext(workspace), {"run": run.run_id})
    before = (workspace.folder("merged", run.run_id) / "model.safetensors").stat()
    merge(ForegroundContext(workspace), {"run": run.run_id})
    assert (workspace.folder("merged", run.run_id) / "model.safetensors").stat().st_ino == before.st_ino
    merge(ForegroundContext(workspace), {"run": run.run_id, "dtype": "bfloat16"})
    made = merged_run(workspace, run.run_id)
    assert made is not None and made.dtype == "bfloat16" and 0 < made.rounding < 1
    assert "bfloat16 cut off" in made.rounding_words


@pytest.mark.parametrize("stage", ["fold the adapter in", "write the weights"])
def test_a_cancelled_merging_leaves_nothing_and_the_one_before_it_stays(workspace: Workspace, run: RunInfo, stage: str) -> None:
    folder = workspace.folder("merged", run.run_id)
    with pytest.raises(Cancelled):
        merge(Cancelling(workspace, stage), {"run": run.run_id})
    assert not folder.exists() and not list(workspace.root.rglob("*.tmp-*"))
    merge(ForegroundContext(workspace), {"run": run.run_id})
    with pytest.raises(Cancelled):
        merge(Cancelling(workspace, stage), {"run": run.run_id, "dtype": "bfloat16"})
    made = merged_run(workspace, run.run_id)
    assert made is not None and made.dtype == "float32" and integrity.damages(folder, wait=True) == []


def test_too_little_disk_is_told_with_both_numbers_before_anything_starts(
    workspace: Workspace, run: RunInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reft_studio.models.merged_size.free_at", lambda place: 3_000_000)
    monkeypatch.setattr("reft_studio.models.loading.load", _never)
    merging = MergedModels(workspace, JobQueue(workspace))
    for attempt in (lambda: merge(ForegroundContext(workspace), {"run": run.run_id}), lambda: merging.start(run.run_id)):
        with pytest.raises(PrerequisiteError, match=r"takes 0\.\d MB in float32, but 3.0 MB are free"):
            attempt()
    assert merging.jobs.list() == [] and merging.state(run.run_id).state == "refused"
    assert "but 3.0 MB are free" in merging.state(run.run_id).refused


def _never(*_: Any, **__: Any) -> None:
    raise AssertionError("a weight was read")


def test_a_folder_of_ones_own_is_written_only_where_nothing_is(workspace: Workspace, run: RunInfo, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    merge(ForegroundContext(workspace), {"run": run.run_id, "target": str(mine)})
    assert (asked(AutoModelForCausalLM.from_pretrained(mine)) - said_by_the_app(run)).abs().max() < 1e-5
    before = sorted(path.name for path in mine.iterdir())
    with pytest.raises(SpecError, match="nothing is written over"):
        merge(ForegroundContext(workspace), {"run": run.run_id, "target": str(mine)})
    assert sorted(path.name for path in mine.iterdir()) == before and merged_run(workspace, run.run_id) is None


def test_another_base_in_the_place_of_the_one_it_was_trained_on_is_refused(
    workspace: Workspace, toy_data: dict[str, Dataset], tmp_path: Path
) -> None:
    base = make_model(tmp_path / "base")
    run = finetuned(workspace, toy_data, base)
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        model.lm_head.weight.add_(1.0)
    model.save_pretrained(base)
    with pytest.raises(SpecError, match="was made on other weights"):
        merge(ForegroundContext(workspace), {"run": run.run_id})


def test_a_damaged_adapter_is_not_merged_and_one_trained_anew_makes_the_merged_model_old(workspace: Workspace, run: RunInfo) -> None:
    merge(ForegroundContext(workspace), {"run": run.run_id})
    weights = run.adapter / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    integrity.forget()
    with pytest.raises(StoreError, match="is damaged"):
        merge(ForegroundContext(workspace), {"run": run.run_id, "dtype": "bfloat16"})
    integrity.seal(run.folder, ["adapter/adapter_model.safetensors"])  # as if the run had been done again
    assert merged_run(workspace, run.run_id) is None


def test_a_damaged_merged_model_says_so_and_can_be_made_again(workspace: Workspace, run: RunInfo) -> None:
    merge(ForegroundContext(workspace), {"run": run.run_id})
    (workspace.folder("merged", run.run_id) / "merged.json").write_text("{}", "utf-8")
    integrity.forget()
    state = MergedModels(workspace, JobQueue(workspace)).state(run.run_id)
    assert state.made is None and "Merge the run again" in state.damaged and state.state == "possible"
    found = doctor.stored_files(workspace)
    assert not found.ok and "merge the run again" in found.hint
    console = ForegroundContext(workspace)
    merge(console, {"run": run.run_id})
    assert "That is done now." in console.warnings[0] and doctor.stored_files(workspace).ok


def test_a_run_on_four_bits_is_merged_into_the_full_weights(run: RunInfo) -> None:
    packed = LoadSpec(quantization="nf4", device="cuda:0")
    spec = run.spec.model_copy(update={"loading": packed})
    held = loading_of(replace(run, spec=spec, result={**run.result, "loading": {**packed.model_dump(), "dtype": "bfloat16"}}))
    assert (held.quantization, held.dtype, held.device) == ("none", "bfloat16", "cpu")


def test_the_verb_merges_and_says_where_it_lies(workspace: Workspace, run: RunInfo, command: Command, tmp_path: Path) -> None:
    place = ("--workspace", str(workspace.root))
    told = command("merge", run.run_id, "--to", str(tmp_path / "out"), "--dtype", "bfloat16", "--json", *place)
    assert told.code == 0 and told.json["path"] == str(tmp_path / "out") and told.json["dtype"] == "bfloat16"
    assert json.loads((tmp_path / "out" / "merged.json").read_text("utf-8"))["run"] == run.run_id
    assert "Plain SFT, merged" in command("merge", run.run_id, *place).out
    assert "There is no finished run" in command("merge", "r000000000000", *place).err
