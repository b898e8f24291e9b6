"""T-Vaccine against Vaccine and against its rule written out: Lslland/T-Vaccine@4513750, `trainer.py`, `BaseTrainer`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from reft_studio.defenses.defense import ALIGNED, task_loss
from reft_studio.models.module_outputs import OutputGradients, block_modules, sample_indices
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent
from reft_studio.training.run import train
from reft_studio.training.stages import FOLDER
from reft_studio.workspace import Workspace, read_json
from tests.defenses.real import TOLERANCE, WAYS, Real, apart
from tests.tiny_runs import TinyRuns
from tests.training.test_stages import ends_alike

FEW = {"layers": 1, "redraw_every": 2, "measure_every": 3}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return Real(tmp_path_factory.mktemp("t-vaccine"), layers=4)


def block_of(real: Real) -> list[int]:
    """The block that each trained tensor belongs to."""
    owner = {id(value): number for number, block in enumerate(real.session.model.blocks) for value in block.parameters()}
    return [owner[id(value)] for value in real.session.adapted.parameters(ALIGNED)]


def test_with_all_blocks_it_is_vaccine_to_the_bit(real: Real) -> None:
    for layers in (4, 100):
        _, found = real.gradient("t_vaccine", config={"rho": 2.0, "layers": layers})
        _, vaccine = real.gradient("vaccine", config={"rho": 2.0})
        assert torch.equal(found, vaccine)


def test_the_gradient_is_that_of_vaccine_in_the_drawn_blocks_and_nothing_elsewhere(real: Real) -> None:
    with real.training("t_vaccine", {"layers": 2, "rho": 3.0}) as (method, run):
        _, found = real.step(method, run)
        chosen = method.state()["drawn"]
    with real.training("vaccine", {}) as (_, run):
        rows, attentions = run.alignment_batch(), block_modules(run.model, "attention")
        drift = OutputGradients([attentions[place] for place in chosen], run.weights.parameters[0])
        run.gradient(task_loss, rows, around=drift.record)
        expected, _ = run.gradient(task_loss, rows, around=drift.perturb(3.0))
    kept = [value if block in chosen else torch.zeros_like(value) for value, block in zip(expected, block_of(real), strict=True)]
    whole = torch.cat([value.flatten() for value in kept])
    assert len(chosen) == 2 and apart(found, whole) <= TOLERANCE
    assert float(found[whole == 0].abs().max()) == 0


def test_chances_are_the_norms_by_a_harmful_answer_measured_and_drawn_when_it_is_time(real: Real) -> None:
    with real.training("t_vaccine", {**FEW}) as (method, run):
        seen: list[dict[str, Any]] = []
        for step in range(1, 8):
            run.step = step
            real.step(method, run)
            seen.append(method.state())
    chances, blocks = [one["chances"] for one in seen], [one["drawn"] for one in seen]
    assert chances[0] == chances[1] == chances[2] != chances[3] == chances[5] != chances[6]
    assert blocks[0] == blocks[1] and blocks[2] == blocks[3] and blocks[4] == blocks[5]
    with real.training("t_vaccine", FEW) as (_, run):
        one = run.batch("harmful", size=1)
        base, answers = run.model.base, dict[Any, torch.Tensor]()
        hooks = [
            block.self_attn.register_forward_hook(lambda module, _inputs, output: answers.update({module: output[0]}))
            for block in run.model.blocks
        ]
        loss = base(input_ids=one.input_ids, labels=one.labels).loss
        norms = [float(value.norm()) for value in torch.autograd.grad(loss, list(answers.values()))]
        for hook in hooks:
            hook.remove()
    assert chances[0] == pytest.approx(norms, rel=1e-4)


def test_blocks_are_drawn_as_often_as_their_chances_say() -> None:
    """One of three: shares ∝ weights. Two of three: by hand, P(first and second) = p₁p₂/(1−p₁) + p₂p₁/(1−p₂)."""
    torch.manual_seed(0)
    rounds = 20_000
    one = Counter(place for _ in range(rounds) for place in sample_indices([1.0, 2.0, 5.0], 1))
    assert [one[place] / rounds for place in range(3)] == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.012)
    pairs = Counter(tuple(sample_indices([1.0, 2.0, 5.0], 2)) for _ in range(rounds))
    expected = 1 / 8 * (2 / 8) / (7 / 8) + 2 / 8 * (1 / 8) / (6 / 8)
    assert pairs[(0, 1)] / rounds == pytest.approx(expected, abs=0.006)
    assert sample_indices([0.0, 0.0, 3.0], 2)[1] == 2 and sample_indices([0.0, 0.0, 0.0], 3) == [0, 1, 2]


@pytest.mark.parametrize("way", WAYS)
def test_however_memory_is_saved_the_gradient_is_the_same(real: Real, way: str) -> None:
    _, whole = real.gradient("t_vaccine", config={"layers": 2})
    assert apart(real.gradient("t_vaccine", config={"layers": 2}, **WAYS[way])[1], whole) <= TOLERANCE


def test_a_step_is_two_passes_and_one_more_where_chances_are_measured(real: Real) -> None:
    with real.training("t_vaccine", FEW) as (method, run):
        for step, passes in ((1, 3), (2, 5), (3, 7), (4, 10)):
            run.step = step
            real.step(method, run)
            assert run.costs.ledger()["passes"] == {"teacher": 0, "forward": passes, "backward": passes}


def test_without_drift_the_alignment_is_the_plain_one(real: Real) -> None:
    with real.training("t_vaccine", {"rho": 0.0}) as (none, run):
        assert none.alignment_stage().rule == "plain"
        none.restore({})
        _, found = real.step(none, run)
    assert torch.equal(found, real.gradient("aligned_sft")[1])


OPTIM = OptimSpec(steps=6, batch_size=4, alignment_batch_size=4, learning_rate=5e-3, weight_decay=0.1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> TinyRuns:
    lora = LoraSpec(rank=4, alpha=8, dropout=0.2)
    return TinyRuns(Workspace.open(tmp_path_factory.mktemp("t-vaccine-runs")), tiny_model, steps=2, optim=OPTIM, lora=lora)


def test_blocks_that_are_not_drawn_stay_as_they_are_with_weight_decay_and_all(tiny: TinyRuns) -> None:
    """One draw for the whole stage: two of three blocks end as the adapter began, in A and in B."""
    run = train(tiny.workspace, tiny.spec("t_vaccine", method_config={"layers": 1}), tiny.session, Silent())
    stage = tiny.workspace.folder(FOLDER, run.result["stages"][0]["id"])
    chosen = read_json(stage / "learnt.json")["drawn"]
    trained = [value.detach().clone() for value in tiny.session.adapted.parameters(ALIGNED)]
    names = [name for name, value in tiny.session.model.base.named_parameters() if f".{ALIGNED}." in name]
    start = read_json(stage / "stage.json")["facts"]
    from reft_studio import seeding

    tiny.session.add(ALIGNED, LoraSpec(**start["lora"]), seed=seeding.derive(start["seed"], "stage", ALIGNED))
    fresh = tiny.session.adapted.parameters(ALIGNED)
    for name, one, other in zip(names, trained, fresh, strict=True):
        assert torch.equal(one, other) == all(f".layers.{place}." not in name for place in chosen), name


def test_a_run_killed_in_its_stage_goes_on_with_its_draw(tiny: TinyRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFT_STUDIO_CHECKPOINT_S", "0")
    assert ends_alike(tiny, tiny.spec("t_vaccine", method_config=FEW), tmp_path, 4, 2)


@pytest.mark.parametrize("method", ["vaccine", "repnoise"])
def test_so_do_its_kin(tiny: TinyRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setenv("REFT_STUDIO_CHECKPOINT_S", "0")
    assert ends_alike(tiny, tiny.spec(method), tmp_path, 3)
