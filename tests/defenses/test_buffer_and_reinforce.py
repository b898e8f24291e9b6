"""Buffer and Reinforce against the merge of full matrices: SeokilHam/Buffer-and-Reinforce@9bf1018, `qr_merging.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reft_studio.defenses.buffer_and_reinforce import BUFFER, BufferAndReinforce, besides
from reft_studio.models.low_rank import Layers, LowRank, low_rank
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent
from reft_studio.training.context import STUDENT, Run
from reft_studio.training.probe import probe
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.training.stages import FOLDER
from reft_studio.workspace import Workspace, read_json
from tests.tiny_runs import TinyRuns

OPTIM = OptimSpec(steps=7, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)
METHOD = "buffer_and_reinforce"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> TinyRuns:
    return TinyRuns(Workspace.open(tmp_path_factory.mktemp("buffer")), tiny_model, steps=5, optim=OPTIM)


def thin(seed: int, *, rank: int = 4, outputs: int = 9, inputs: int = 7) -> LowRank:
    rng = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(outputs, rank, generator=rng), torch.randn(rank, inputs, generator=rng))


def written_out(user: LowRank, safety: LowRank, alpha: float) -> Tensor:
    """ΔS − α·QQᵀΔS as a matrix, with the authors' basis and cut; their code takes both adapters to be of one rank."""
    values, vectors = torch.linalg.eigh(user.down @ user.down.T)
    keep = values > 0.01 * values.max()
    basis = user.up if int(keep.sum()) == user.rank else user.up @ vectors[:, keep]
    q, _ = torch.linalg.qr(basis, mode="reduced")
    delta = safety.dense()
    return delta - alpha * q @ (q.T @ delta)


def weak(user: LowRank) -> LowRank:
    """One whose last row of A hardly counts."""
    down = user.down.clone()
    down[-1] *= 1e-3
    return LowRank(user.up, down)


@pytest.mark.parametrize("user", [thin(1), weak(thin(2))])
def test_the_safety_update_gives_way_in_the_users_directions_as_in_the_authors_merge(user: LowRank) -> None:
    safety = thin(3)
    for alpha in (0.1, 0.7):
        torch.testing.assert_close(besides(user, safety, alpha).dense(), written_out(user, safety, alpha), rtol=1e-4, atol=1e-5)
    assert torch.equal(besides(user, safety, 0.0).dense(), safety.dense())
    apart = torch.linalg.qr(user.up).Q.T @ besides(user, safety, 1.0).dense()
    assert float(apart.norm()) < 1e-4 or user.down[-1].norm() < 0.1, "all of it is orthogonal to the user's update"


def test_a_user_adapter_that_changes_nothing_has_no_directions() -> None:
    user, safety = thin(1), thin(3)
    up, down = torch.zeros_like(user.up), torch.zeros_like(user.down)
    continued = LowRank(torch.cat([up, user.up], 1), torch.cat([user.down, down]))  # (B − B₀)·A + B₀·(A − A₀) where it began
    for nothing in (LowRank(user.up, down), LowRank(up, user.down), continued, continued.compact()):
        assert besides(nothing, safety, 1.0) is safety


def test_a_compact_update_is_the_same_and_as_narrow_as_it_can_be() -> None:
    one, two = thin(1, rank=2), thin(2, rank=2)
    wide = one + two + one - two
    found = wide.compact()
    torch.testing.assert_close(found.dense(), 2 * one.dense(), rtol=1e-4, atol=1e-5)
    assert found.rank == 2
    torch.testing.assert_close(found.down @ found.down.T, torch.diag((found.down**2).sum(1)), rtol=1e-4, atol=1e-5)


def finished(tiny: TinyRuns, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[RunInfo, dict[str, Any]]:
    """A run, and what each layer had at its end: start, update of the user and of the safety adapter."""
    seen: dict[str, Any] = {}
    finish = BufferAndReinforce.finish

    def watched(self: BufferAndReinforce, layers: Layers) -> None:
        safety = layers.of("reinforce")
        for name, layer in layers.items():
            start = layer.start.dense() if layer.start is not None else torch.zeros(())
            seen[name] = (start, layer.update if layer.fresh else layer.update.compact(), safety[name])
        finish(self, layers)

    with monkeypatch.context() as patch:
        patch.setattr(BufferAndReinforce, "finish", watched)
        return train(tiny.workspace, tiny.spec(METHOD, **changes), tiny.session, Silent()), seen


@pytest.mark.parametrize("changes", [{"adapters": "continue"}, {"adapters": "fresh"}, {"start": "base", "aligned": None}])
def test_what_comes_out_is_the_start_and_the_merged_updates_without_the_buffer(
    tiny: TinyRuns, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    run, seen = finished(tiny, monkeypatch, **changes)
    tiny.session.ensure("asked", run.adapter)
    for name, update in low_rank(tiny.session.adapted, "asked").items():
        start, user, safety = seen[name]
        expected = start + 0.5 * (user.dense() + written_out(user, safety, 0.1))
        assert torch.allclose(update.dense(), expected, atol=1e-5), name
        assert float(user.norm()) > 0 and float(safety.norm()) > 0
    assert [stage["name"] for stage in run.result["stages"]] == ["buffer", "reinforce"]


def test_the_users_adapter_and_the_safety_adapter_are_trained_on_top_of_the_buffer(tiny: TinyRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[tuple[str, tuple[str, ...]]] = []
    training = Run.training

    def watched(self: Run, adapter: str = STUDENT, *, on: tuple[str, ...] = ()) -> Any:
        entered.append((adapter, tuple(on)))
        return training(self, adapter, on=on)

    monkeypatch.setattr(Run, "training", watched)
    train(tiny.workspace, tiny.spec(METHOD, seed=3), tiny.session, Silent())
    aligned_on = [("buffer", ("aligned",)), ("reinforce", ("aligned", "buffer"))]
    assert entered == [*aligned_on, (STUDENT, (BUFFER,)), (STUDENT, (BUFFER,))]
    entered.clear()
    run = train(tiny.workspace, tiny.spec(METHOD, seed=3, adapters="fresh"), tiny.session, Silent())
    assert entered == [(STUDENT, ("aligned", BUFFER)), (STUDENT, ("aligned", BUFFER))], "both stages were there"
    first = run.log()[0]["task"]
    alone = train(tiny.workspace, tiny.spec("aligned_sft", seed=3, adapters="fresh"), tiny.session, Silent()).log()[0]["task"]
    assert first != alone, "the buffer is felt while training"


def test_all_of_the_users_update_and_none_of_the_safety_one_is_finetuning_on_a_buffer_taken_away(
    tiny: TinyRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = finished(tiny, monkeypatch, adapters="fresh", seed=4, method_config={"scale": 1.0, "alpha": 0.0})
    tiny.session.ensure("asked", run.adapter)
    for name, update in low_rank(tiny.session.adapted, "asked").items():
        start, user, safety = seen[name]
        assert torch.allclose(update.dense() - safety.dense(), start + user.dense(), atol=1e-6)


def test_each_stage_has_its_length_and_its_costs_and_a_step_is_one_pass(tiny: TinyRuns) -> None:
    run = train(tiny.workspace, tiny.spec(METHOD, method_config={"buffer_steps": 3, "reinforce_steps": 4}, seed=6), tiny.session, Silent())
    assert [stage["steps"] for stage in run.result["stages"]] == [3, 4]
    for stage in run.result["stages"]:
        spent = read_json(tiny.workspace.folder(FOLDER, stage["id"]) / "cost.json")["passes"]
        assert spent == {"teacher": 0, "forward": stage["steps"], "backward": stage["steps"]}
    costs = run.costs()
    assert costs is not None and costs["passes"] == {"teacher": 0, "forward": 7, "backward": 7}


def test_its_step_can_be_timed_before_any_stage_is_made(tiny: TinyRuns) -> None:
    spec = tiny.spec(METHOD, start="base", aligned=None, lora=LoraSpec(rank=4), seed=9)
    assert probe(tiny.workspace, spec, tiny.session, Silent())["seconds"] > 0
