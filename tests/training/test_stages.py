"""Adapters that are made before the user's data: once, shared, gone on with after a kill; and what training on top of them leaves."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reft_studio import fingerprint
from reft_studio.defenses.booster import Booster
from reft_studio.defenses.defense import Stage, task_loss
from reft_studio.defenses.sft import Sft
from reft_studio.errors import SpecError, StoreError, TrainingError
from reft_studio.models.accumulate import Accumulator
from reft_studio.models.batching import Example
from reft_studio.models.generation import complete, free_memory
from reft_studio.models.low_rank import low_rank
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.models.supervised import hidden_states
from reft_studio.progress import Silent
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.training.stages import FOLDER
from reft_studio.training.watch import Observer
from reft_studio.workspace import Workspace
from tests.tiny_runs import TinyRuns

OPTIM = OptimSpec(steps=5, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)
OWN = {"aligned": None}


class Killed(BaseException):
    """Stands for kill -9: no clean-up of ours knows it."""


@dataclass
class Stopped(Silent):
    """Progress that is killed at one call of `check`, if any."""

    at: int = 0
    calls: int = 0
    seen: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def check(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise Killed

    def progress(self, done: int, total: int, **metrics: float) -> None:
        self.seen.append((done, total))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> TinyRuns:
    return TinyRuns(Workspace.open(tmp_path_factory.mktemp("stages")), tiny_model, steps=5, optim=OPTIM)


@pytest.fixture
def place(tiny: TinyRuns, tmp_path: Path) -> Workspace:
    """A workspace of its own with the data."""
    return Workspace.open(Path(shutil.copytree(tiny.workspace.root, tmp_path / "own")))


def made(workspace: Workspace) -> list[str]:
    return [folder.name for folder in workspace.finished(FOLDER)]


def guided(tiny: TinyRuns, method: str, **changes: Any) -> Any:
    sets = {"harmful": tiny.data["harmful"].id, "helpful": tiny.data["helpful"].id, "lora": tiny.lora}
    return tiny.spec(method, **{**sets, **OWN, **changes})


def same(one: RunInfo, other: RunInfo) -> bool:
    first, second = (fingerprint.of_file(run.adapter / "adapter_model.safetensors") for run in (one, other))
    return first == second


def ends_alike(tiny: TinyRuns, spec: Any, root: Path, *stops: int) -> bool:
    """Whether a run that is killed at these checks, one after the other, ends with the bytes of an unbroken one."""
    digests = []
    for kills in ((), stops):
        place = Workspace.open(Path(shutil.copytree(tiny.workspace.root, root / str(len(kills)))))
        for stop in (*kills, 0):
            try:
                done = train(place, spec, tiny.session, Stopped(at=stop))
            except Killed:
                continue
            digests.append(fingerprint.of_file(done.adapter / "adapter_model.safetensors"))
    return len(digests) == 2 and digests[0] == digests[1]


def test_methods_that_start_from_aligned_weights_share_those_that_are_made_for_them(tiny: TinyRuns, place: Workspace) -> None:
    first = train(place, guided(tiny, "aligned_sft"), tiny.session, Silent())
    assert first.result["stages"][0] | {"id": "", "seconds": 0} == {
        "name": "aligned", "rule": "plain", "steps": 5, "shared": False, "id": "", "seconds": 0,
    }  # fmt: skip
    second = train(place, guided(tiny, "lisa"), tiny.session, Silent())
    assert second.result["stages"][0]["shared"] and second.result["stages"][0]["id"] == first.result["stages"][0]["id"]
    zero = train(place, tiny.spec("booster", method_config={"lam": 0.0}), tiny.session, Silent())
    assert zero.result["stages"][0]["shared"] and same(zero, first)
    train(place, tiny.spec("booster"), tiny.session, Silent())
    assert len(made(place)) == 2
    other = train(place, guided(tiny, "aligned_sft", seed=1), tiny.session, Silent())
    assert not other.result["stages"][0]["shared"] and len(made(place)) == 3


def test_a_run_killed_in_its_stage_goes_on_there_and_ends_the_same(
    tiny: TinyRuns, place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFT_STUDIO_CHECKPOINT_S", "0")
    whole = train(place, tiny.spec("booster"), tiny.session, Silent())
    again = Workspace.open(Path(shutil.copytree(tiny.workspace.root, tmp_path / "again")))
    with pytest.raises(Killed):
        train(again, tiny.spec("booster"), tiny.session, Stopped(at=4))
    assert not made(again)
    with pytest.raises(Killed):
        train(again, tiny.spec("booster"), tiny.session, Stopped(at=6))  # 2 steps of the stage are left, then the finetuning
    assert made(again) == made(place)
    watched = Stopped()
    parts = train(again, tiny.spec("booster"), tiny.session, watched)
    assert same(parts, whole) and watched.seen[0][0] > 1
    assert not list(again.folder("unfinished").iterdir())


def test_a_stage_that_memory_does_not_hold_is_done_in_pieces_with_the_same_result(
    tiny: TinyRuns, place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(place, tiny.spec("booster"), tiny.session, Silent())
    again = Workspace.open(Path(shutil.copytree(tiny.workspace.root, tmp_path / "again")))
    gradients, tight = Accumulator._gradients, [2]

    def short(self: Accumulator, losses: Any, *, apart: bool) -> Any:
        if tight[0]:
            tight[0] -= 1
            raise RuntimeError("CUDA out of memory")
        return gradients(self, losses, apart=apart)

    monkeypatch.setattr(Accumulator, "_gradients", short)
    monkeypatch.setattr("reft_studio.models.accumulate.is_out_of_memory", lambda exc: "out of memory" in str(exc))
    monkeypatch.setattr("reft_studio.models.accumulate.free_memory", lambda: None)
    progress = Silent()
    pieces = train(again, tiny.spec("booster"), tiny.session, progress)
    assert sum("Out of memory" in told for told in progress.warnings) == 2
    one, two = (load_file(run.adapter / "adapter_model.safetensors") for run in (whole, pieces))
    assert all(torch.allclose(value, two[key], atol=1e-5) for key, value in one.items())


def test_a_damaged_stage_is_refused_and_says_what_to_do(tiny: TinyRuns, place: Workspace) -> None:
    run = train(place, tiny.spec("booster"), tiny.session, Silent())
    path = place.folder(FOLDER, run.result["stages"][0]["id"]) / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\x00\x01\x02\x03")
    with pytest.raises(StoreError, match="made again"):
        train(place, tiny.spec("booster", seed=0, optim=OPTIM.model_copy(update={"batch_size": 5})), Session.open(tiny.model), Silent())


def states(session: Session, adapter: Path, rows: Sequence[Example]) -> torch.Tensor:
    name = session.ensure("asked", adapter)
    with session.adapted.active(name) as backbone:
        from reft_studio.models.batching import collate

        return torch.cat(hidden_states(session.model, backbone, collate(rows, pad_id=session.model.pad_id)))


def test_a_fresh_adapter_on_aligned_weights_is_saved_with_them_as_one_adapter(tiny: TinyRuns, place: Workspace) -> None:
    lora = LoraSpec(rank=3, alpha=12)
    run = train(place, tiny.spec("aligned_sft", adapters="fresh", lora=lora), tiny.session, Silent())
    rank = tiny.teacher_spec.lora.rank + 3
    tensors = load_file(run.adapter / "adapter_model.safetensors")
    assert all(len(value) == rank for key, value in tensors.items() if "lora_A" in key)
    session = Session.open(tiny.model)
    session.ensure("aligned", tiny.aligned.adapter)
    session.ensure("whole", run.adapter)
    whole, aligned = low_rank(session.adapted, "whole"), low_rank(session.adapted, "aligned")
    for name, update in whole.items():
        rest = (update - aligned[name]).dense()
        assert torch.linalg.matrix_rank(rest, atol=1e-5) <= 3  # what is left is the fresh adapter
        assert float(rest.norm()) > 0


def test_a_fresh_adapter_is_looked_at_on_top_of_the_aligned_weights_and_without_what_is_thrown_away(
    tiny: TinyRuns, place: Workspace
) -> None:
    class Looks:
        def __init__(self) -> None:
            self.on: list[tuple[str, ...]] = []
            self.same: list[bool] = []

        def due(self, step: int, steps: int) -> bool:
            return step == 1

        def check(self, step: int, steps: int, on: Sequence[str] = ()) -> None:
            self.on.append(tuple(on))
            prompts = [row.ids[: row.prompt] for row in tiny.session.encoder.examples(tiny.data["user"].read())[:3]]
            asked = [("student", on), ("aligned", ())]
            one, two = (
                [answer.text for answer in complete(tiny.session.adapted, name, prompts, max_new_tokens=6, on=of)] for name, of in asked
            )
            self.same.append(one == two)

    optim = OPTIM.model_copy(update={"steps": 1, "learning_rate": 1e-12, "warmup": 0})
    for method, adapters, on in (
        ("aligned_sft", "fresh", ("aligned",)),
        ("buffer_and_reinforce", "fresh", ("aligned",)),
        ("aligned_sft", "continue", ()),
    ):
        looks = Looks()
        spec = tiny.spec(method, adapters=adapters, optim=optim)
        train(place, spec, tiny.session, Silent(), observer=Observer(Silent(), student_check=looks))
        assert looks.on == [on] and looks.same == [True], "a student that has not moved answers as the weights it began from"


def test_with_no_step_to_speak_of_a_fresh_adapter_leaves_the_aligned_weights(tiny: TinyRuns, place: Workspace) -> None:
    optim = OPTIM.model_copy(update={"steps": 1, "learning_rate": 1e-12, "warmup": 0})
    run = train(place, tiny.spec("aligned_sft", adapters="fresh", optim=optim), tiny.session, Silent())
    rows = tiny.session.encoder.examples(tiny.data["user"].read())[:4]
    assert torch.allclose(states(tiny.session, run.adapter, rows), states(tiny.session, tiny.aligned.adapter, rows), atol=1e-5)


def test_an_instruct_model_needs_no_aligned_weights(tiny: TinyRuns, place: Workspace) -> None:
    plain = train(place, tiny.spec("sft"), tiny.session, Silent())
    based = train(place, tiny.spec("aligned_sft", aligned=None, start="base", lora=tiny.lora), tiny.session, Silent())
    assert same(plain, based) and "stages" not in based.result


def test_weights_that_a_method_must_align_itself_are_not_taken_from_elsewhere(tiny: TinyRuns) -> None:
    for method, changes in (("booster", {"aligned": "lab-aligned"}), ("booster", {"start": "base"}), ("safe_lora", {"start": "base"})):
        with pytest.raises(ValueError, match=r"works only from weights that it has aligned|needs .* aligned"):
            tiny.spec(method, **changes)


def test_a_projection_that_touches_no_layer_leaves_the_adapter_to_the_bit(tiny: TinyRuns, place: Workspace) -> None:
    plain = train(place, tiny.spec("aligned_sft"), tiny.session, Silent())
    assert same(plain, train(place, tiny.spec("safe_lora", method_config={"number": 0}), tiny.session, Silent()))
    projected = train(place, tiny.spec("safe_lora", method_config={"number": 2}), tiny.session, Silent())
    one, two = load_file(plain.adapter / "adapter_model.safetensors"), load_file(projected.adapter / "adapter_model.safetensors")
    assert {key: value.shape for key, value in one.items()} != {key: value.shape for key, value in two.items()}


def test_rows_can_be_mixed_in_before_training(tiny: TinyRuns, place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = train(place, tiny.spec("sft"), tiny.session, Silent())
    monkeypatch.setattr(Sft, "mixed", lambda self, rows: self.context.examples("refusals")[: rows // 4])
    sets = {"harmful": tiny.data["harmful"].id, "helpful": tiny.data["helpful"].id}
    mixed = train(place, tiny.spec("sft", **sets), tiny.session, Silent())
    assert mixed.result["mixed"] == mixed.result["kept"] // 4 and not same(plain, mixed)


def test_a_stage_that_reads_the_users_rows_is_shared_by_runs_on_the_same_rows_alone(
    tiny: TinyRuns, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def look(self: Sft) -> Any:
        rows = self.context.batch("user", size=3)
        seen.extend(rows.index)
        return self.context.learn(task_loss, rows)

    rows = tiny.session.encoder.examples(tiny.data["user"].read())
    with monkeypatch.context() as narrow:
        narrow.setattr(tiny.session.encoder, "max_length", max(len(row.ids) for row in rows) - 1)
        plain = train(place, tiny.spec("sft", seed=8), tiny.session, Silent())
        monkeypatch.setattr(Sft, "stages", lambda self: [Stage("look", "look", lambda: look(self), ("user",), steps=len(rows))])
        cut = train(place, tiny.spec("sft", seed=7), tiny.session, Silent())
    assert cut.result["truncated"] == plain.result["truncated"] > 0, "a row that is read twice is cut once"
    seen.clear()
    first, other, filtered = (
        train(place, tiny.spec("sft", seed=9, **changes), tiny.session, Silent())
        for changes in ({}, {"stop_after": 2}, {"filter": True, "teacher": tiny.teacher.id, "drop": 5})
    )
    stages = [run.result["stages"][0] for run in (first, other, filtered)]
    assert stages[1]["shared"] and stages[1]["id"] == stages[0]["id"] != stages[2]["id"]
    kept = set(np.load(filtered.folder / "kept.npy").tolist())
    assert set(seen[: 3 * len(rows)]) == set(range(len(rows))) and set(seen[3 * len(rows) :]) == kept


def test_the_passes_of_a_stage_are_counted_in_its_own_ledger(tiny: TinyRuns, place: Workspace) -> None:
    run = train(place, tiny.spec("booster"), tiny.session, Silent())
    stage = place.folder(FOLDER, run.result["stages"][0]["id"])
    from reft_studio.workspace import read_json

    assert read_json(stage / "cost.json")["passes"] == {"teacher": 0, "forward": 15, "backward": 15}  # three each, five steps
    costs = run.costs()
    assert costs is not None and costs["passes"] == {"teacher": 0, "forward": 5, "backward": 5}
    assert Booster.info.cost == 1.0
    free_memory()


def test_nothing_is_made_for_a_run_that_cannot_be_done(tiny: TinyRuns, place: Workspace) -> None:
    with pytest.raises(TrainingError, match="nothing to train on"):
        train(place, tiny.spec("booster", filter=True, teacher=tiny.teacher.id, threshold=-1.0), tiny.session, Silent())
    other = Session.open(tiny.model, template="Q: {prompt} A:")
    with pytest.raises(SpecError, match="another prompt template"):
        train(place, tiny.spec("resta", template="Q: {prompt} A:"), other, Silent())
    assert not made(place)
