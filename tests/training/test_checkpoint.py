"""An interrupted training goes on and ends as if nothing had happened, to the byte; a damaged checkpoint is never gone on from.

`python -m tests.training.test_checkpoint 500` damages a checkpoint in 500 ways and counts what was noticed.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from reft_studio import fingerprint
from reft_studio.defenses import DEFENSES
from reft_studio.defenses.sft import Sft
from reft_studio.errors import TrainingError
from reft_studio.models.accumulate import Accumulator
from reft_studio.models.batching import Example, Stream
from reft_studio.models.session import Session
from reft_studio.models.snapshot import Snapshot
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent, StopEarly
from reft_studio.teacher.training import prepare_teacher
from reft_studio.training.checkpoint import KEPT, Checkpoints, Unfinished
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo, checkpoint_folder
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace
from tests.tiny_runs import TinyRuns

OPTIM = OptimSpec(steps=7, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)
DROPOUT = LoraSpec(rank=4, alpha=8, dropout=0.2)


class Killed(BaseException):
    """Stands for kill -9: no clean-up of ours knows it."""


@dataclass
class Interrupting(Silent):
    """Progress that is stopped at some calls of `check`, once each."""

    at: list[int] = field(default_factory=list)
    error: type[BaseException] = Killed
    calls: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def check(self) -> None:
        self.calls += 1
        if self.at and self.calls >= self.at[0]:
            self.at.pop(0)
            raise self.error


class Place(TinyRuns):
    """Every run gets a workspace of its own, so that nothing is shared but the start."""

    def __init__(self, root: Path, model: Path) -> None:
        super().__init__(Workspace.open(root / "start"), model, steps=6, optim=OPTIM, lora=DROPOUT)
        self.root, self.made = root, 0

    def workspace_of_its_own(self) -> Workspace:
        self.made += 1
        return Workspace.open(Path(shutil.copytree(self.workspace.root, self.root / str(self.made))))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Place:
    return Place(tmp_path_factory.mktemp("place"), tiny_model)


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after each step: the usual one comes every few seconds."""
    monkeypatch.setenv("REFT_STUDIO_CHECKPOINT_S", "0")


def adapter(run: RunInfo) -> str:
    return fingerprint.of_file(run.adapter / "adapter_model.safetensors")


def interrupted(place: Place, spec: RunSpec, *stops: int, error: type[BaseException] = Killed) -> tuple[RunInfo, list[str]]:
    """The run, done in a process that is stopped at these checks; and all warnings."""
    workspace, warnings = place.workspace_of_its_own(), list[str]()
    for stop in (*stops, 0):
        progress = Interrupting(at=[stop] if stop else [], error=error)
        try:
            return train(workspace, spec, place.session, progress), [*warnings, *progress.warnings]
        except error:
            warnings += progress.warnings
    raise AssertionError("the last attempt is not stopped")


@pytest.mark.parametrize("method", list(DEFENSES))
def test_every_method_that_is_interrupted_ends_with_the_same_adapter_to_the_byte(place: Place, method: str) -> None:
    spec = place.spec(method)
    whole = train(place.workspace_of_its_own(), spec, place.session, Silent())
    parts, warnings = interrupted(place, spec, 5, 3)
    assert adapter(parts) == adapter(whole)
    assert sum("goes on after step" in text for text in warnings) == 2
    same = ("kept", "removed", "steps", "tokens", "final", "gradient_cosine")
    changing = ("tokens_per_second", "memory_mb")
    for name in same:
        one, two = (
            {key: value for key, value in run.result[name].items() if key not in changing} if name == "final" else run.result[name]
            for run in (parts, whole)
        )
        assert one == two, name
    assert [line["loss"] for line in parts.log()] == [line["loss"] for line in whole.log()]
    assert not checkpoint_folder(Workspace(parts.folder.parent.parent), spec.run_id).exists()


def test_a_kill_between_two_checkpoints_repeats_the_steps_in_between(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, due = place.spec("ref_teacher"), iter([True, True, False, False, False, False, False])
    whole = train(place.workspace_of_its_own(), spec, place.session, Silent())
    workspace, steps = place.workspace_of_its_own(), list[int]()
    learn = Accumulator.learn

    def counted(self: Accumulator, *args: Any, **kwargs: Any) -> Any:
        steps.append(1)
        if len(steps) == 5:
            raise Killed
        return learn(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Accumulator, "learn", counted)
        patch.setattr(Checkpoints, "due", lambda self: next(due))
        with pytest.raises(Killed):
            train(workspace, spec, place.session, Silent())
    progress = Silent()
    again = train(workspace, spec, place.session, progress)
    assert "Training goes on after step 2, from its checkpoint." in progress.warnings
    assert adapter(again) == adapter(whole)


def test_a_method_with_a_state_of_its_own_goes_on_with_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def step(self: Any, user: Any) -> Any:
        line = self.context.learn(lambda task: {"task": task.cross_entropy()}, user)
        self.average = 0.5 * getattr(self, "average", torch.zeros(1)) + line["loss"]
        seen.append(float(self.average))
        return line

    monkeypatch.setattr(Sft, "finetune_step", step)
    monkeypatch.setattr(Sft, "state", lambda self: {"average": self.average, "note": "anchor"})

    def restore(self: Any, state: dict[str, Any]) -> None:
        assert state["note"] == "anchor"
        self.average = state["average"]

    monkeypatch.setattr(Sft, "restore", restore)
    train(place.workspace_of_its_own(), place.spec(), place.session, Silent())
    whole, seen[:] = list(seen), []
    interrupted(place, place.spec(), 4)
    assert seen == whole


def test_a_batch_that_was_halved_stays_halved(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    learn, first = Accumulator._gradients, [True]

    def short_of_memory(self: Accumulator, losses: Any, *, apart: bool) -> Any:
        if first:
            first.clear()
            raise torch.OutOfMemoryError("CUDA out of memory")
        return learn(self, losses, apart=apart)

    monkeypatch.setattr(Accumulator, "_gradients", short_of_memory)
    whole = train(place.workspace_of_its_own(), place.spec(), place.session, Silent())
    first.append(True)
    parts, warnings = interrupted(place, place.spec(), 4)
    assert adapter(parts) == adapter(whole) and sum("Out of memory" in text for text in warnings) == 1


@pytest.mark.parametrize("where", ["forward", "backward", "optimizer"])
def test_memory_that_runs_out_once_changes_no_loss(place: Place, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    plain = train(place.workspace_of_its_own(), place.spec(lora=LoraSpec(rank=4)), place.session, Silent())
    calls = {"forward": 0, "backward": 0, "optimizer": 0}

    def failing(name: str, do: Callable[..., Any], at: int) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            if calls[name] == at:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return do(*args, **kwargs)

        return call

    target: tuple[Any, str] = {
        "forward": (sys.modules["reft_studio.models.accumulate"], "supervise"),
        "backward": (torch.autograd, "grad"),
        "optimizer": (torch.optim.AdamW, "step"),
    }[where]
    monkeypatch.setattr(*target, failing(where, getattr(*target), 3))
    run = train(place.workspace_of_its_own(), place.spec(lora=LoraSpec(rank=4)), place.session, Silent())
    pairs = zip(run.log(), plain.log(), strict=True)
    assert max(abs(one["loss"] - two["loss"]) for one, two in pairs) < 1e-5
    extra = 1 if where == "optimizer" else None
    assert extra is None or calls[where] == OPTIM.steps + extra


def test_a_training_that_is_stopped_and_saved_is_the_run_that_ends_there(place: Place) -> None:
    workspace, spec = place.workspace_of_its_own(), place.spec()
    early = train(workspace, spec, place.session, Interrupting(at=[4], error=StopEarly))
    assert early.spec == spec.model_copy(update={"stop_after": 3}) and early.run_id != spec.run_id
    assert early.result["steps"] == 3 and early.result["run_id"] == early.run_id
    asked = train(place.workspace_of_its_own(), early.spec, place.session, Silent())
    assert adapter(asked) == adapter(early)
    assert not (workspace.folder("runs", spec.run_id)).exists()


def test_a_training_that_is_stopped_before_its_first_step_saves_nothing(place: Place) -> None:
    workspace = place.workspace_of_its_own()
    with pytest.raises(TrainingError, match="nothing to save"):
        train(workspace, place.spec(), place.session, Interrupting(at=[1], error=StopEarly))
    assert not list(workspace.root.glob("runs/r*"))


def test_a_loss_that_is_no_number_names_its_row_and_leaves_no_bad_checkpoint(place: Place) -> None:
    workspace, session = place.workspace_of_its_own(), Session.open(place.model)
    texts = place.data["user"].table(["response"]).column(0).to_pylist()
    tokens = [set(session.model.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    rare = next(token for row in tokens for token in sorted(row) if sum(token in other for other in tokens) <= len(tokens) // 2)
    with torch.no_grad():
        session.model.base.get_input_embeddings().weight[rare] = float("nan")
    spec = place.spec(optim=OptimSpec(steps=40, batch_size=2, alignment_batch_size=2, learning_rate=1e-3))
    with pytest.raises(TrainingError, match=r"not a finite number.*(Row|Rows) .*user.* such a loss"):
        train(workspace, spec, session, Silent())
    kept = Unfinished(workspace, f"run-{spec.run_id}", Silent()).folder
    for folder in kept.rglob("checkpoint-*"):
        assert all(bool(torch.isfinite(value).all()) for value in torch_tensors(folder))


def torch_tensors(folder: Path) -> list[torch.Tensor]:
    from safetensors.torch import load_file

    return [value for value in load_file(folder / "state.safetensors").values() if value.is_floating_point()]


EARLY = {"early_stop": 1, "evaluate_every": 1, "optim": OptimSpec(steps=30, batch_size=8, learning_rate=5e-3)}
"""Ends by itself long before its last step."""


@pytest.mark.parametrize("changes", [{}, EARLY, {"sweep": (0.5, 1.0)}])
def test_a_teacher_that_is_interrupted_ends_as_the_unbroken_one(place: Place, changes: dict[str, Any]) -> None:
    spec = place.teacher_spec.model_copy(update={"lora": DROPOUT, **changes})
    digests = []
    for stops in ((), (5, 2)):
        workspace = place.workspace_of_its_own()
        for stop in (*stops, 0):
            progress = Interrupting(at=[stop] if stop else [])
            unfinished = Unfinished(workspace, f"teacher-{spec.id}", progress)
            try:
                found = prepare_teacher(workspace, spec, place.session, progress, keepers=unfinished.keeper)
            except Killed:
                continue
            names = ("adapter/adapter_model.safetensors", "refusal_feature.safetensors")
            digests.append([fingerprint.of_file(found.folder / name) for name in names])
    assert digests[0] == digests[1]


def test_checkpoints_of_other_rows_or_another_base_are_not_gone_on_from(tmp_path: Path) -> None:
    progress = Silent()
    Checkpoints(tmp_path / "run", {"rows": "one"}, progress).save(Snapshot(3, {"parameters.0": torch.zeros(2)}, {}))
    assert Checkpoints(tmp_path / "run", {"rows": "two"}, progress).newest() is None
    assert "training begins anew" in progress.warnings[0]


def test_two_checkpoints_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path / "run", {}, Silent())
    for step in (1, 2, 3, 4):
        keeper.save(Snapshot(step, {"parameters.0": torch.full((2,), float(step))}, {"log.lines": [step]}))
    assert len(list((tmp_path / "run").iterdir())) == KEPT
    found = keeper.newest()
    assert found is not None and found.step == 4 and found.values == {"log.lines": [4]} and found.tensors["parameters.0"].tolist() == [4, 4]


def test_the_time_between_checkpoints_grows_with_what_one_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.delenv("REFT_STUDIO_CHECKPOINT_S")
    monkeypatch.setattr("reft_studio.training.checkpoint.time.monotonic", lambda: now[0])
    keeper = Checkpoints(tmp_path / "run", {}, Silent(), every_s=5.0)
    assert not keeper.due()
    now[0] += 5
    assert keeper.due()
    keeper._cost_s, keeper._saved_at = 2.0, now[0]
    now[0] += 199
    assert not keeper.due()
    now[0] += 1
    assert keeper.due()


def test_a_stream_that_skips_draws_what_it_would_have_drawn() -> None:
    rows = [Example([number], 0, number) for number in range(7)]
    one, two = (Stream(rows, size=3, rng=random.Random(4)) for _ in range(2))
    drawn = [next(one) for _ in range(9)]
    two.restore({"drawn": 5})
    assert [next(two) for _ in range(4)] == drawn[5:]


def test_every_damage_of_a_checkpoint_is_noticed_and_the_one_before_is_used(tmp_path: Path) -> None:
    assert noticed(60, tmp_path) == 60


def noticed(cases: int, root: Path, *, seed: int = 0) -> int:
    """How many of so many damages (a flipped bit, a cut-off, deleted or emptied file, at random places) were noticed and survived."""
    rng, good = random.Random(seed), 0
    whole = root / "whole"
    keeper = Checkpoints(whole, {"rows": "one"}, Silent())
    for step in (1, 2):
        tensors = {f"parameters.{number}": torch.full((40,), float(step)) for number in range(3)}
        keeper.save(Snapshot(step, tensors, {"log.lines": [{"step": step, "loss": 0.5}], "user.drawn": step}))
    for case in range(cases):
        copy = Path(shutil.copytree(whole, root / f"case-{case}"))
        newest = sorted(copy.iterdir())[-1]
        file = rng.choice(sorted(newest.iterdir()))
        data, how = file.read_bytes(), rng.choice(["flip", "flip", "truncate", "delete", "empty"])
        at = rng.randrange(len(data))
        if how == "flip":
            file.write_bytes(data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :])
        elif how == "truncate":
            file.write_bytes(data[:at])
        elif how == "empty":
            file.write_bytes(b"")
        else:
            file.unlink()
        progress = Silent()
        found = Checkpoints(copy, {"rows": "one"}, progress).newest()
        good += found is not None and found.step == 1 and any("damaged" in text for text in progress.warnings)
        shutil.rmtree(copy)
    return good


if __name__ == "__main__":
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as folder:
        print(f"{noticed(total, Path(folder))} of {total} damaged checkpoints noticed, the one before used each time")
