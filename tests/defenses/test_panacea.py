"""Panacea against its rule on quadratics: w-yibo/Panacea@d17b2db, `trainer.py`, `Panacea.step_eps`; and its shift on a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from reft_studio.defenses.panacea import Panacea, PanaceaConfig
from reft_studio.models.low_rank import Layers
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent
from reft_studio.training.context import STUDENT
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.workspace import Workspace
from tests.defenses.real import TOLERANCE, WAYS, Real, apart
from tests.defenses.toy import Quadratic, ToyContext
from tests.tiny_runs import TinyRuns

USER, HARMFUL = Quadratic.drawn(4), Quadratic(0.2 * Quadratic.drawn(3).hessian, Quadratic.drawn(3).centre)
OPTIM = OptimSpec(steps=7, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)


def panacea(**settings: float) -> tuple[Panacea, ToyContext]:
    context = ToyContext({"user": USER, "harmful": HARMFUL})
    return Panacea(PanaceaConfig(**settings), context), context  # type: ignore[arg-type]


def step(method: Panacea) -> dict[str, float]:
    return method.finetune_step("user")  # type: ignore[arg-type]


def shift(w: torch.Tensor, rho: float) -> torch.Tensor:
    here = HARMFUL.gradient(w)
    return rho * here / (here.norm() + 1e-7)


def test_the_gradient_is_the_tasks_and_lambda_times_what_the_shift_adds_to_the_harmful_one() -> None:
    method, context = panacea(rho=0.2, lam=0.3)
    w = context.flat()
    line = step(method)
    there = w + shift(w, 0.2)
    assert line["shifted"] <= 5
    expected = USER.gradient(w) - 0.3 * (HARMFUL.gradient(there) - HARMFUL.gradient(w))
    assert torch.allclose(context.flat_gradient(), expected, atol=1e-9)
    assert torch.equal(context.flat(), w), "back to the bit"
    assert context.passes == 3


def test_above_a_harmful_loss_of_five_the_shifted_gradient_does_not_count() -> None:
    method, context = panacea(rho=50.0, lam=0.3)
    w = context.flat()
    assert step(method)["shifted"] > 5
    assert torch.allclose(context.flat_gradient(), USER.gradient(w) + 0.3 * HARMFUL.gradient(w), atol=1e-9)


def test_the_shift_has_its_length_and_raises_the_harmful_loss_by_it_times_the_gradients_norm() -> None:
    method, context = panacea(rho=1e-4)
    w = context.flat()
    line = step(method)
    assert line["shifted"] - line["harmful"] == pytest.approx(1e-4 * float(HARMFUL.gradient(w).norm()), rel=1e-3)
    method.finish({})  # type: ignore[arg-type]
    assert torch.allclose(context.flat(), w + shift(w, 1e-4), atol=1e-12)


def test_without_a_shift_it_is_plain_finetuning_and_without_lambda_the_shift_comes_at_the_end_alone() -> None:
    method, context = panacea(rho=0.0, lam=5.0)
    w = context.flat()
    step(method)
    method.finish({})  # type: ignore[arg-type]
    assert torch.equal(context.flat(), w) and context.passes == 1
    assert torch.allclose(context.flat_gradient(), USER.gradient(w), atol=1e-12)
    method, context = panacea(lam=0.0)
    step(method)
    assert torch.allclose(context.flat_gradient(), USER.gradient(w), atol=1e-12)
    method.finish({})  # type: ignore[arg-type]
    assert float((context.flat() - w).norm()) == pytest.approx(1.0, rel=1e-6)


def test_an_interrupted_training_ends_with_the_last_shift() -> None:
    method, context = panacea()
    step(method)
    again, other = panacea()
    again.restore(method.state())
    again.finish({})  # type: ignore[arg-type]
    method.finish({})  # type: ignore[arg-type]
    assert torch.equal(other.flat(), context.flat())


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return Real(tmp_path_factory.mktemp("panacea"))


@pytest.mark.parametrize("way", WAYS)
def test_however_memory_is_saved_the_gradient_is_the_same(real: Real, way: str) -> None:
    strong: dict[str, Any] = {"config": {"lam": 1.0, "rho": 0.1}, "adapter": STUDENT}
    line, whole = real.gradient("panacea", **strong)
    frugal, found = real.gradient("panacea", **strong, **WAYS[way])
    assert apart(found, whole) <= TOLERANCE and frugal["shifted"] == pytest.approx(line["shifted"], rel=1e-5)
    assert line["shifted"] > line["harmful"]


def test_both_harmful_passes_draw_the_same_dropout(tmp_path: Path) -> None:
    real = Real(tmp_path, lora=LoraSpec(rank=4, alpha=64, dropout=0.5))
    line, _ = real.gradient("panacea", config={"rho": 1e-6}, adapter=STUDENT)
    assert abs(line["shifted"] - line["harmful"]) < 1e-4


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> TinyRuns:
    return TinyRuns(Workspace.open(tmp_path_factory.mktemp("panacea-runs")), tiny_model, steps=5, optim=OPTIM)


def adapter_of(run: RunInfo, session: Session) -> dict[str, torch.Tensor]:
    session.ensure("asked", run.adapter)
    return {name: layer.own.dense() for name, layer in Layers(session.adapted, "asked").items()}


@pytest.mark.parametrize("adapters", ["continue", "fresh"])
def test_the_run_ends_shifted_by_the_length_and_costs_three_passes_a_step(
    tiny: TinyRuns, adapters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[float] = []
    ends: dict[str, torch.Tensor] = {}
    finish = Panacea.finish

    def watched(self: Panacea, layers: Layers) -> None:
        before = self.context.weights.copy()
        finish(self, layers)
        after = self.context.weights.copy()
        moved.append(self.context.weights.norm([one - two for one, two in zip(after, before, strict=True)]))
        ends.update({name: layer.total.dense() for name, layer in layers.items()})

    monkeypatch.setattr(Panacea, "finish", watched)
    run = train(tiny.workspace, tiny.spec("panacea", adapters=adapters), tiny.session, Silent())
    assert moved == [pytest.approx(1.0, rel=1e-4)]
    costs = run.costs()
    assert costs is not None and costs["passes"] == {"teacher": 0, "forward": 21, "backward": 21}
    assert all(torch.allclose(value, ends[name], atol=1e-6) for name, value in adapter_of(run, tiny.session).items())
