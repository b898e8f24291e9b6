"""Constrained SFT against the authors' loss on padded logits: Unispac/shallow-vs-deep-alignment@fb1749e, `soft_sft_loss`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from reft_studio.defenses.constrained_sft import ConstrainedSftConfig, tightness
from reft_studio.defenses.defense import ALIGNED
from reft_studio.models.batching import Example
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent
from reft_studio.training.context import STUDENT
from reft_studio.training.run import train
from reft_studio.workspace import Workspace
from tests.defenses.real import TOLERANCE, WAYS, Real, apart
from tests.tiny_models import FAMILIES
from tests.tiny_runs import TinyRuns

OPTIM = OptimSpec(steps=9, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return Real(tmp_path_factory.mktemp("constrained"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> TinyRuns:
    return TinyRuns(Workspace.open(tmp_path_factory.mktemp("constrained-runs")), tiny_model, steps=5, optim=OPTIM)


def log_p(real: Real, adapter: str | None, rows: Sequence[Example]) -> list[Tensor]:
    """Of each row's response tokens, from the model's own logits, one row at a time."""
    found = []
    with real.session.adapted.active(adapter, train=adapter is not None):
        for row in rows:
            logits = real.session.model.base(input_ids=torch.tensor([row.ids])).logits[0].float()
            labels = torch.tensor(row.ids[row.prompt :])
            found.append(functional.log_softmax(logits[row.prompt - 1 : -1], -1)[torch.arange(len(labels)), labels])
    return found


def written_out(real: Real, rows: Sequence[Example]) -> Tensor:
    """The gradient of the mean over tokens of −w·log π, w = max(2(1 − σ(β_t·(log π − log π₀))), 1e-3) detached; β of the scripts."""
    reference = [one.detach() for one in log_p(real, ALIGNED, rows)]
    losses = []
    with real.session.adapted.active(STUDENT, train=True):
        for policy, begun in zip(log_p(real, STUDENT, rows), reference, strict=True):
            beta = torch.full((len(policy),), 0.1)
            beta[:5], beta[0] = 2.0, 0.5
            weight = (2 * (1 - torch.sigmoid(beta * (policy - begun)))).detach().clamp(min=1e-3)
            losses.append(-weight * policy)
        gradients = torch.autograd.grad(torch.cat(losses).mean(), real.session.adapted.parameters(STUDENT))
    return torch.cat([value.flatten() for value in gradients])


def test_the_gradient_is_that_of_the_authors_loss(real: Real) -> None:
    line, found = real.gradient("constrained_sft", adapter=STUDENT)
    assert apart(found, written_out(real, real.user)) <= TOLERANCE
    assert apart(real.gradient("aligned_sft", adapter=STUDENT)[1], found) > 1e-2 and line["loss"] == line["task"]


@pytest.mark.parametrize("way", WAYS)
def test_however_memory_is_saved_the_gradient_is_the_same(real: Real, way: str) -> None:
    _, whole = real.gradient("constrained_sft", adapter=STUDENT)
    _, found = real.gradient("constrained_sft", adapter=STUDENT, **WAYS[way])
    assert apart(found, whole) <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_held_to_where_it_began(tmp_path: Path, family: str) -> None:
    real = Real(tmp_path, family)
    _, found = real.gradient("constrained_sft", adapter=STUDENT)
    assert apart(found, written_out(real, real.user)) <= 5 * TOLERANCE


def test_tokens_are_counted_from_the_first_of_the_answer() -> None:
    held = tightness(ConstrainedSftConfig(), torch.tensor([1, 2, 3, 4, 5, 6, 7, 1, 2]))
    assert held.tolist() == pytest.approx([0.5, 2, 2, 2, 2, 0.1, 0.1, 0.5, 2])
    assert tightness(ConstrainedSftConfig(early_tokens=0), torch.tensor([1, 2])).tolist() == pytest.approx([0.1, 0.1])


def test_where_training_begins_every_token_weighs_one(real: Real) -> None:
    def first(method: str) -> Tensor:
        with real.training(method, {}, adapter=STUDENT) as (defense, run):
            run.weights.restore(real.session.adapted.parameters(ALIGNED))
            return real.step(defense, run, STUDENT)[1]

    assert apart(first("constrained_sft"), first("aligned_sft")) <= TOLERANCE


def test_a_strong_hold_leaves_a_token_that_became_likelier_the_least_weight(real: Real) -> None:
    line, _ = real.gradient("constrained_sft", adapter=STUDENT, config={"beta": 100.0, "early_tokens": 0})
    begun, now = (torch.cat(log_p(real, adapter, real.user)).detach() for adapter in (ALIGNED, STUDENT))
    weights = torch.where(now > begun, 1e-3, 2.0)
    clear = (now - begun).abs() > 0.1
    expected = (-(weights * now))[clear].sum() / len(now)
    assert line["task"] == pytest.approx(float(expected), abs=float((2 * now.abs())[~clear].sum() / len(now)))


@pytest.mark.parametrize("adapters", ["continue", "fresh"])
def test_the_starting_weights_read_each_row_once_and_are_those_that_were_aligned(
    tiny: TinyRuns, adapters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reft_studio.training.start_log_probabilities import StartLogProbabilities

    kept: dict[int, Tensor] = {}
    keep = StartLogProbabilities.keep

    def watched(self: StartLogProbabilities, batch: Any, found: Any) -> None:
        assert not set(batch.index) & kept.keys()
        kept.update(zip(batch.index, found, strict=True))
        keep(self, batch, found)

    monkeypatch.setattr(StartLogProbabilities, "keep", watched)
    run = train(tiny.workspace, tiny.spec("constrained_sft", adapters=adapters), tiny.session, Silent())
    costs = run.costs()
    assert costs is not None and costs["passes"] == {"teacher": 6, "forward": 9, "backward": 9}, "24 rows, four at a time"
    assert {stage["stage"] for stage in costs["stages"]} >= {"train", "start weights"}
    name = tiny.session.ensure("asked", tiny.aligned.adapter)
    row = tiny.session.encoder.examples(tiny.data["user"].read())[5]
    with tiny.session.adapted.active(name):
        logits = tiny.session.model.base(input_ids=torch.tensor([row.ids])).logits[0].float()
    labels = torch.tensor(row.ids[row.prompt :])
    expected = functional.log_softmax(logits[row.prompt - 1 : -1], -1)[torch.arange(len(labels)), labels]
    assert torch.allclose(kept[5], expected.detach(), atol=1e-4)
    first, plain = run.log()[0], train(tiny.workspace, tiny.spec("aligned_sft", adapters=adapters), tiny.session, Silent()).log()[0]
    assert first["task"] == pytest.approx(plain["task"], rel=1e-5)


def test_an_instruct_model_is_held_to_itself(tiny: TinyRuns) -> None:
    spec = tiny.spec("constrained_sft", start="base", aligned=None, lora=LoraSpec(rank=4))
    run = train(tiny.workspace, spec, tiny.session, Silent())
    plain = train(tiny.workspace, tiny.spec("sft", lora=LoraSpec(rank=4)), tiny.session, Silent())
    assert run.log()[0]["task"] == pytest.approx(plain.log()[0]["task"], rel=1e-5)
    one, two = (load_file(done.adapter / "adapter_model.safetensors") for done in (run, plain))
    assert any(not torch.equal(value, two[key]) for key, value in one.items())
