"""Vaccine against its rule written out with PyTorch's own backward hooks on a padded batch: git-disl/Vaccine@8937f68, `trainer.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reft_studio.defenses.defense import ALIGNED
from reft_studio.models.batching import Batch
from reft_studio.models.module_outputs import OutputGradients, block_modules
from reft_studio.models.spec import LoraSpec
from tests.defenses.real import TOLERANCE, WAYS, Real, apart
from tests.tiny_models import FAMILIES


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return Real(tmp_path_factory.mktemp("vaccine"))


def test_the_gradient_is_that_of_the_authors_two_passes(real: Real) -> None:
    with real.training("vaccine", {"rho": 2.0}) as (_, run):
        batch = run.alignment_batch()
        expected, drift = written_out(real, batch, rho=2.0)
    line, found = real.gradient("vaccine", config={"rho": 2.0})
    assert apart(found, expected) <= TOLERANCE
    assert drift == pytest.approx(2.0, rel=1e-5)
    assert line["drifted"] > 0.05, "the drift makes the alignment loss larger"


def written_out(real: Real, batch: Batch, *, rho: float) -> tuple[Tensor, float]:
    """The gradient of the second pass, and the length of what it added, with attention modules found by their name."""
    base, parameters = real.session.model.base, real.session.adapted.parameters(ALIGNED)
    attentions = [module for name, module in base.named_modules() if name.endswith("self_attn")]
    embeddings, answers = base.get_input_embeddings(), dict[Any, Tensor]()

    def loss() -> Tensor:
        return base(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels).loss

    def track(module: Any, _inputs: Any, output: Any) -> None:
        answers[module] = output[0]

    # the embeddings ask for a gradient, so that it goes back through all attentions, whatever is trained
    hooks = [embeddings.register_forward_hook(lambda _module, _inputs, output: output.requires_grad_())]
    hooks += [module.register_forward_hook(track) for module in attentions]
    gradients = torch.autograd.grad(loss(), list(answers.values()))
    for hook in hooks:
        hook.remove()
    size = torch.norm(torch.stack([value.norm() for value in gradients]))
    steps = {module: value * (rho / (size + 1e-7)) for module, value in zip(answers, gradients, strict=True)}

    def push(module: Any, _inputs: Any, output: Any) -> Any:
        return (output[0] + steps[module], *output[1:])

    hooks = [module.register_forward_hook(push) for module in attentions]
    found = torch.autograd.grad(loss(), parameters)
    for hook in hooks:
        hook.remove()
    return torch.cat([value.flatten() for value in found]), float(
        torch.stack([value.square().sum() for value in steps.values()]).sum().sqrt()
    )


@pytest.mark.parametrize("way", WAYS)
def test_however_memory_is_saved_the_gradient_is_the_same(real: Real, way: str) -> None:
    line, whole = real.gradient("vaccine")
    frugal, found = real.gradient("vaccine", **WAYS[way])
    assert apart(found, whole) <= TOLERANCE
    assert frugal["task"] == pytest.approx(line["task"], rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_attentions_whose_drift_is_followed_in_pieces_and_recomputed(tmp_path: Path, family: str) -> None:
    real = Real(tmp_path, family)
    before = real.hooks()
    line, whole = real.gradient("vaccine")
    _, plain = real.gradient("vaccine", config={"rho": 0.0})
    _, found = real.gradient("vaccine", micro_batch_size=1, gradient_checkpointing=True)
    assert apart(found, whole) <= 5 * TOLERANCE and apart(plain, whole) > 1e-2 and line["drifted"] > 0
    assert real.hooks() == before, "no hook is left behind"


def test_a_short_drift_raises_the_loss_by_its_length_times_the_gradients_norm(real: Real) -> None:
    with real.training("vaccine", {}) as (_, run):
        batch = run.alignment_batch()
        drift = OutputGradients(block_modules(run.model, "attention"), run.weights.parameters[0])
        task = lambda rows: {"task": rows.cross_entropy()}  # noqa: E731
        _, still = run.gradient(task, batch, around=drift.record)
        _, moved = run.gradient(task, batch, around=drift.perturb(0.01))
    assert moved["task"] - still["task"] == pytest.approx(0.01 * drift.norm(), rel=0.05)


def test_without_drift_the_alignment_is_the_plain_one_and_its_weights_are_shared(real: Real) -> None:
    with real.training("vaccine", {"rho": 0.0}) as (none, run):
        assert none.alignment_stage().rule == "plain"
        _, found = real.step(none, run)
    _, plain = real.gradient("aligned_sft")
    assert torch.equal(found, plain)
    with real.training("vaccine", {}) as (some, _):
        assert some.alignment_stage().rule == "vaccine"


def test_a_step_is_two_passes_forward_and_two_back(real: Real) -> None:
    with real.training("vaccine", {}) as (vaccine, run):
        real.step(vaccine, run)
        assert run.costs.ledger()["passes"] == {"teacher": 0, "forward": 2, "backward": 2}


def test_both_passes_draw_the_same_dropout(tmp_path: Path) -> None:
    """With a drift of almost no length both passes have the same loss; other masks would move it."""
    real = Real(tmp_path, lora=LoraSpec(rank=4, alpha=64, dropout=0.5))
    line, _ = real.gradient("vaccine", config={"rho": 1e-6})
    assert abs(line["drifted"]) < 1e-4
    line, _ = real.gradient("vaccine", config={"rho": 1e-6}, micro_batch_size=1)
    assert abs(line["drifted"]) < 1e-4


def test_an_attention_that_no_trained_weight_reaches_drifts_all_the_same(tmp_path: Path) -> None:
    """Adapters on the MLPs alone leave the first attention without a gradient of its own."""
    real = Real(tmp_path, lora=LoraSpec(rank=4, alpha=8, targets=("up_proj", "down_proj")))
    with real.training("vaccine", {}) as (_, run):
        expected, drift = written_out(real, run.alignment_batch(), rho=2.0)
        assert drift == pytest.approx(2.0, rel=1e-5)
    for way in ({}, {"gradient_checkpointing": True}):
        assert apart(real.gradient("vaccine", **way)[1], expected) <= TOLERANCE
