"""LDIFS against its rule written out on a padded batch: git-disl/Booster@6421918, `trainer.py`, `LDIFSTrainer`, padding left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reft_studio.defenses.defense import ALIGNED
from reft_studio.models.batching import Batch
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent
from reft_studio.training.context import STUDENT
from reft_studio.training.run import train
from reft_studio.workspace import Workspace
from tests.defenses.real import TOLERANCE, WAYS, Real, apart
from tests.tiny_models import FAMILIES
from tests.tiny_runs import TinyRuns


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return Real(tmp_path_factory.mktemp("ldifs"))


def distances(real: Real, batch: Batch, network: Any) -> list[Tensor]:
    """‖a − a₀‖² of each block's MLP, found by its name; the student is in effect."""
    session = real.session
    mlps = [module for name, module in session.model.base.named_modules() if name.endswith(".mlp")]

    def outputs() -> dict[Any, Tensor]:
        kept: dict[Any, Tensor] = {}
        hooks = [mlp.register_forward_hook(lambda module, _inputs, output: kept.update({module: output})) for mlp in mlps]
        network(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        for hook in hooks:
            hook.remove()
        return kept

    with session.adapted.active(ALIGNED), torch.no_grad():
        began = outputs()
    now = outputs()
    mask = batch.attention_mask[..., None]
    return [((now[mlp] - began[mlp]) * mask).square().sum() for mlp in mlps]


def between(real: Real) -> float:
    """A strength at which some blocks' terms are below the gate of 0.1 and some above."""
    with real.training("ldifs", {}, adapter=STUDENT) as (_, run), torch.no_grad():
        found = sorted(float(value) for value in distances(real, run.collate(real.user), run.model.base))
    return 2 * 0.1 / (found[0] * found[-1]) ** 0.5


@pytest.mark.parametrize("gate", ["official", "ungated"])
def test_the_gradient_is_that_of_the_authors_loss(real: Real, gate: str) -> None:
    rho = between(real)
    line, found = real.gradient("ldifs", config={"rho": rho, "gate": gate}, adapter=STUDENT)
    with real.training("ldifs", {}, adapter=STUDENT) as (_, run):
        batch = run.collate(real.user)
        base, parameters = run.model.base, real.session.adapted.parameters(STUDENT)
        loss = base(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels).loss
        pull = torch.zeros(())
        left = 0
        for distance in distances(real, batch, base):
            term = rho / 2 * distance
            if gate == "ungated" or term < 0.1:
                pull = pull + term
            else:
                left += 1
        expected = torch.cat([value.flatten() for value in torch.autograd.grad(loss + pull, parameters)])
    assert apart(found, expected) <= TOLERANCE
    assert line["pull"] == pytest.approx(float(pull.detach()), rel=1e-4) and line["let_go"] == left
    assert (left > 0) == (gate == "official")


@pytest.mark.parametrize("gate", ["official", "ungated"])
@pytest.mark.parametrize("way", WAYS)
def test_however_memory_is_saved_gradient_loss_and_gate_are_those_of_the_undivided_batch(real: Real, way: str, gate: str) -> None:
    config = {"rho": between(real), "gate": gate}
    line, whole = real.gradient("ldifs", config=config, adapter=STUDENT)
    frugal, found = real.gradient("ldifs", config=config, adapter=STUDENT, **WAYS[way])
    assert apart(found, whole) <= TOLERANCE
    for name in ("task", "pull", "let_go", "loss"):
        assert frugal[name] == pytest.approx(line[name], rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_pulled_back_in_pieces_and_recomputed_alike(tmp_path: Path, family: str) -> None:
    real = Real(tmp_path, family)
    before, config = real.hooks(), {"rho": 0.1, "gate": "ungated"}
    line, whole = real.gradient("ldifs", config=config, adapter=STUDENT)
    _, plain = real.gradient("sft", adapter=STUDENT)
    _, found = real.gradient("ldifs", config=config, adapter=STUDENT, micro_batch_size=1, gradient_checkpointing=True)
    assert apart(found, whole) <= 5 * TOLERANCE and apart(plain, whole) > 1e-3 and line["pull"] > 0
    assert real.hooks() == before, "no hook is left behind"


def test_where_nothing_has_moved_there_is_no_pull_and_the_gradient_is_the_plain_one(real: Real) -> None:
    with real.training("ldifs", {"rho": 1000.0}, adapter=STUDENT) as (method, run):
        with torch.no_grad():
            for value, start in zip(run.weights.parameters, real.session.adapted.parameters(ALIGNED), strict=True):
                value.copy_(start)
        line, found = real.step(method, run, STUDENT)
        _, plain = real.step(type("Plain", (), {"finetune_step": lambda _, user: run.learn(task, user)})(), run, STUDENT)
    assert line["pull"] == 0 and line["let_go"] == 0
    assert apart(found, plain) <= 1e-6


def task(rows: Any) -> dict[str, Tensor]:
    return {"task": rows.cross_entropy()}


def test_padding_counts_for_nothing(real: Real) -> None:
    """A short row beside a longer one, and alone: its own share of the pull stays."""
    config = {"rho": 0.1, "gate": "ungated"}
    with real.training("ldifs", config, adapter=STUDENT, packing=False) as (method, run):
        together = method.finetune_step(run.user_batch(real.user[:2]))["pull"]
        apart_ = sum(method.finetune_step(run.user_batch([row]))["pull"] for row in real.user[:2])
    assert together == pytest.approx(apart_, rel=1e-5)


def test_a_step_is_two_passes_forward_and_one_back(real: Real) -> None:
    with real.training("ldifs", {}, adapter=STUDENT) as (method, run):
        real.step(method, run, STUDENT)
        assert run.costs.ledger()["passes"] == {"teacher": 1, "forward": 1, "backward": 1}


def test_reading_the_start_draws_no_dropout(tmp_path: Path) -> None:
    real = Real(tmp_path, lora=LoraSpec(rank=4, alpha=64, dropout=0.5))
    line, _ = real.gradient("ldifs", config={"rho": 1e-3}, adapter=STUDENT)
    plain, _ = real.gradient("sft", adapter=STUDENT)
    assert line["task"] == pytest.approx(plain["task"], rel=1e-6)


def test_the_gate_lets_blocks_go_that_moved_far(real: Real) -> None:
    line, found = real.gradient("ldifs", config={"rho": 1000.0}, adapter=STUDENT)
    _, plain = real.gradient("sft", adapter=STUDENT)
    assert line["let_go"] == real.session.model.layers and line["pull"] == 0
    assert apart(found, plain) <= 1e-6


@pytest.mark.parametrize("adapters", ["continue", "fresh"])
def test_a_run_begins_without_a_pull_whichever_adapter_it_trains(tmp_path: Path, tiny_model: Path, adapters: str) -> None:
    optim = OptimSpec(steps=4, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)
    tiny = TinyRuns(Workspace.open(tmp_path), tiny_model, steps=2, optim=optim)
    spec = tiny.spec("ldifs", adapters=adapters, method_config={"gate": "ungated"})
    pulls = [line["pull"] for line in train(tiny.workspace, spec, tiny.session, Silent()).log()]
    assert pulls[0] == pytest.approx(0, abs=1e-9) and all(value > 1e-7 for value in pulls[1:])
