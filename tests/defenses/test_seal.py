"""SEAL against its losses written out with autograd: hanshen95/SEAL@1538e62, `seal/trainer/sft_selector_trainer.py`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from reft_studio import fingerprint
from reft_studio.defenses.defense import ALIGNED
from reft_studio.models.selector import Selector
from reft_studio.models.spec import OptimSpec
from reft_studio.progress import Silent
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.training.stages import FOLDER
from reft_studio.workspace import Workspace, read_json
from tests.defenses.real import TOLERANCE, WAYS, Real, apart
from tests.tiny_models import FAMILIES
from tests.tiny_runs import TinyRuns

OPTIM = OptimSpec(steps=7, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)
SMALL = {"batch_size": 4, "passes": 2.0}


def test_the_gradient_by_the_logits_is_that_of_the_weighted_mean_of_a_batch() -> None:
    rng = torch.Generator().manual_seed(1)
    selector = Selector(9)
    for places in ([0, 4, 7], [1, 1, 8, 3]):  # a batch that spans two passes may hold a row twice
        losses = torch.rand(len(places), generator=rng) * 3
        logits = selector.logits.clone().requires_grad_()
        ((9 * torch.softmax(logits, 0))[places] * losses).mean().backward()
        assert torch.allclose(selector.gradient(places, losses), logits.grad, atol=1e-7)
        selector.learn(places, losses, learning_rate=0.3)


def test_over_all_rows_a_logit_falls_where_the_loss_is_above_the_weighted_mean() -> None:
    selector, losses = Selector(4), torch.tensor([0.5, 1.0, 3.0, 1.5])
    assert torch.allclose(selector.weights, torch.ones(4))
    assert torch.allclose(selector.gradient(range(4), losses), (losses - losses.mean()) / 4, atol=1e-7)
    for _ in range(20):
        selector.learn(range(4), losses, learning_rate=0.005)
    assert selector.logits.argmin() == 2
    assert selector.weights.mean() == pytest.approx(1.0)
    assert 2 not in selector.highest(3) and Selector(5).highest(3) == [0, 1, 2]


def test_the_logits_move_as_adamw_of_the_authors_moves_them_also_after_a_kill() -> None:
    rng = torch.Generator().manual_seed(2)
    selector, logits = Selector(6), torch.nn.Parameter(torch.full((6,), 0.1))
    optimizer = torch.optim.AdamW([logits], lr=5e-3, betas=(0.9, 0.95), weight_decay=0.0)
    for number in range(12):
        places = torch.randperm(6, generator=rng)[:3].tolist()
        losses = torch.rand(3, generator=rng)
        selector.learn(places, losses, learning_rate=5e-3)
        ((6 * torch.softmax(logits, 0))[places] * losses).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if number == 5:
            selector = Selector.of({name: value.clone() for name, value in selector.state().items()})
    assert torch.allclose(selector.logits, logits.detach(), atol=1e-6)


def row_means(real: Real, rows: list[Any]) -> Tensor:
    """Of each row by itself, the mean over its response of −log p, by the model's own logits."""
    found = []
    for row in rows:
        logits = real.session.model.base(input_ids=torch.tensor([row.ids])).logits[0].float()
        found.append(torch.nn.functional.cross_entropy(logits[row.prompt - 1 : -1], torch.tensor(row.ids[row.prompt :])))
    return torch.stack(found)


def stepped(real: Real, *, step: int, **optim: Any) -> tuple[Any, Tensor, list[int], Tensor, Tensor]:
    """A step of the selection: the method, its gradient, the rows it drew, the weights that they had, and theirs and the guide's gradient.

    The user's rows have weights that are not uniform, and a batch of all of them is drawn.
    """
    with real.training("seal", {**SMALL, "decay": 0.2}, **optim) as (method, run):
        run._user_rows = lambda: real.user
        selector = Selector(4)
        selector.learn([0, 2], torch.tensor([2.0, 1.0]), learning_rate=0.5)
        method._selector, weights = selector, selector.weights
        run.step = step
        drawn: list[list[int]] = []
        batch = run.batch
        run.batch = lambda kind, *, size=None: drawn.append((found := batch(kind, size=size)).index) or found
        guide: list[Any] = []
        alignment = run.alignment_batch
        run.alignment_batch = lambda: guide.append(found := alignment()) or found
        method.select_step()
        parameters = run.weights.parameters
        gradient = torch.cat([value.flatten() for value in run.weights.take_gradient()])
        safety = 1.0 - 0.2 * (step - 1)
        losses = row_means(real, [real.user[place] for place in drawn[0]])
        total = safety * row_means(real, list(guide[0].examples)).mean() + (1 - safety) * (weights[drawn[0]] * losses).mean()
        expected = torch.cat([value.flatten() for value in torch.autograd.grad(total, parameters)])
        by_logits = selector_expected(selector_before=weights, drawn=drawn[0], losses=losses.detach())
        return method, gradient, drawn[0], expected, by_logits


def selector_expected(*, selector_before: Tensor, drawn: list[int], losses: Tensor) -> Tensor:
    """d/dz of the mean over the batch of n·softmax(z)_i·L_i, up to a constant that the logits may have in common."""
    logits = selector_before.log().requires_grad_()
    (4 * torch.softmax(logits, 0)[drawn] * losses).mean().backward()
    assert logits.grad is not None
    return logits.grad


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_that_of_both_losses_with_row_means_and_the_logits_learn_from_the_rows_own(
    tmp_path: Path, family: str, step: int
) -> None:
    method, gradient, drawn, expected, by_logits = stepped(Real(tmp_path, family), step=step)
    assert apart(gradient, expected) < 10 * TOLERANCE
    moment = method.state()["exp_avg-0"]
    before = Selector(4)
    before.learn([0, 2], torch.tensor([2.0, 1.0]), learning_rate=0.5)
    assert torch.allclose(moment, 0.9 * before.state()["exp_avg-0"] + 0.1 * by_logits, atol=1e-5)
    assert sorted(drawn) == [0, 1, 2, 3]


@pytest.mark.parametrize("way", WAYS)
def test_saving_memory_changes_neither_the_gradient_nor_the_logits(tmp_path: Path, way: str) -> None:
    real = Real(tmp_path)
    plain, other = stepped(real, step=2), stepped(real, step=2, **WAYS[way])
    assert apart(other[1], plain[1]) < 10 * TOLERANCE
    assert torch.allclose(other[0]._selector.logits, plain[0]._selector.logits, atol=1e-5)


def test_rows_that_contradict_the_alignment_rows_get_the_lowest_logits(tmp_path: Path) -> None:
    real = Real(tmp_path)
    refusals, harmful = list(real.data.kinds["refusals"]), list(real.data.kinds["harmful"])
    rows = [type(row)(row.ids, row.prompt, place) for place, row in enumerate([*refusals, *harmful])]  # of one prompt each: kept, undone
    config = {"batch_size": 8, "passes": 40.0, "decay": 0.0}
    with real.training("seal", config, adapter=ALIGNED) as (method, run):
        run._user_rows = lambda: rows
        run.steps = method.stages()[0].steps or 0
        assert run.steps == 40
        optimizer = torch.optim.AdamW(run.weights.parameters, lr=5e-3)
        for number in range(1, run.steps + 1):
            run.step = number
            method.select_step()
            optimizer.step()
            optimizer.zero_grad()
        logits, chosen = method._selector.logits, method.select()
    assert float(logits[4:].max()) < float(logits[:4].min())
    assert len(chosen) == 6 and set(chosen) > {0, 1, 2, 3} and chosen == sorted(chosen)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> TinyRuns:
    return TinyRuns(Workspace.open(tmp_path_factory.mktemp("seal")), tiny_model, steps=5, optim=OPTIM)


def run(tiny: TinyRuns, method: str = "seal", **changes: Any) -> RunInfo:
    return train(tiny.workspace, tiny.spec(method, **changes), tiny.session, Silent())


def adapter(run: RunInfo) -> str:
    return fingerprint.of_file(run.adapter / "adapter_model.safetensors")


@pytest.mark.parametrize("adapters", ["continue", "fresh"])
def test_dropping_nothing_is_plain_finetuning_and_makes_no_stage(tiny: TinyRuns, adapters: str) -> None:
    everything = run(tiny, adapters=adapters, method_config={"drop": 0.0})
    assert adapter(everything) == adapter(run(tiny, "aligned_sft", adapters=adapters)) and "stages" not in everything.result


def test_the_rows_of_highest_logits_are_finetuned_on_from_the_aligned_weights(tiny: TinyRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    from reft_studio.defenses.sft import Sft

    found = run(tiny, method_config=SMALL)
    kept, rows = np.load(found.folder / "kept.npy").tolist(), found.result["rows"]
    assert len(kept) == int(0.8 * rows) and found.result["removed"] == rows - len(kept)
    folder = tiny.workspace.folder(FOLDER, found.result["stages"][0]["id"])
    logits = load_file(folder / "learnt.safetensors")["value-0"]
    assert float(logits[kept].min()) >= float(np.delete(logits.numpy(), kept).max())
    monkeypatch.setattr(Sft, "select", lambda self: kept)
    plain = run(tiny, "sft", start="aligned", aligned=tiny.aligned.id, lora=tiny.teacher_spec.lora)
    assert adapter(plain) == adapter(found)


def test_the_selection_is_made_once_whatever_is_dropped_and_its_passes_are_counted(tiny: TinyRuns) -> None:
    one, two = run(tiny, seed=3, method_config=SMALL), run(tiny, seed=3, method_config={**SMALL, "drop": 0.5}, adapters="fresh")
    stage, rows = one.result["stages"][0], one.result["rows"]
    assert two.result["stages"][0] | {"shared": False} == stage and two.result["kept"] == rows // 2
    folder = tiny.workspace.folder(FOLDER, stage["id"])
    facts, spent = read_json(folder / "stage.json")["facts"], read_json(folder / "cost.json")
    assert (
        stage["steps"] == round(2 * rows / 4) and facts["on"] == [tiny.aligned.id] and facts["rows"]["user"]["dataset"] == one.spec.dataset
    )
    looks = -(-stage["steps"] // 20)  # of the conflict of the gradients of both terms
    assert spent["passes"] == {"teacher": 0, "forward": stage["steps"], "backward": stage["steps"] + looks}
    costs = one.costs()
    assert costs is not None and costs["passes"] == {"teacher": 0, "forward": 7, "backward": 7}


def test_a_selection_that_is_killed_goes_on_there(tiny: TinyRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    class At(Silent):
        left = 6

        def check(self) -> None:
            self.left -= 1
            if not self.left:
                raise Killed

    monkeypatch.setenv("REFT_STUDIO_CHECKPOINT_S", "0")
    spec = tiny.spec("seal", seed=5, method_config=SMALL)
    other = Workspace.open(Path(shutil.copytree(tiny.workspace.root, tmp_path / "other")))
    whole = train(tiny.workspace, spec, tiny.session, Silent())
    with pytest.raises(Killed):
        train(other, spec, tiny.session, At())
    parts = train(other, spec, tiny.session, Silent())
    assert adapter(parts) == adapter(whole)
    learnt = [load_file(place.folder(FOLDER, whole.result["stages"][0]["id"]) / "learnt.safetensors") for place in (tiny.workspace, other)]
    assert all(torch.equal(value, learnt[1][name]) for name, value in learnt[0].items())
