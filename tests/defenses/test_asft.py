"""AsFT against its penalty with C as a matrix: PKU-YuanGroup/AsFT@07b606e, `AsFT_finetuning.py`, `utils/AsFT_train_utils.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reft_studio.defenses.asft import HeldLayer
from reft_studio.defenses.defense import ALIGNED
from reft_studio.errors import TrainingError
from reft_studio.models.low_rank import LowRank
from reft_studio.models.spec import OptimSpec
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
    return Real(tmp_path_factory.mktemp("asft"))


def first_step(real: Real, method: str = "asft", *, fresh: bool = False, **optim: Any) -> tuple[dict[str, float], Tensor]:
    config = {"lam": 3.0} if method == "asft" else {}
    with real.training(method, config, adapter=STUDENT, fresh=fresh, **optim) as (defense, run):
        return real.step(defense, run, STUDENT)


def written_out(real: Real, *, fresh: bool) -> tuple[float, Tensor]:
    """The penalty and its gradient, each layer's C formed from V = W_aligned − W_base, ΔW = B·A without the LoRA's scale."""
    parts, penalty = real.session.adapted.parts(STUDENT), torch.zeros(())
    with real.session.adapted.active(STUDENT, train=True):
        for part in parts.values():
            v = (part.lora_B[ALIGNED].weight @ part.lora_A[ALIGNED].weight).detach() * part.scaling[ALIGNED]
            c = v @ v.T / torch.norm(v)
            update = part.lora_B[STUDENT].weight @ part.lora_A[STUDENT].weight
            if not fresh:
                update = update - v / part.scaling[ALIGNED]
            penalty = penalty + torch.norm((torch.eye(len(c)) - c) @ update, p="fro") ** 2
        gradient = torch.autograd.grad(penalty, real.session.adapted.parameters(STUDENT))
    return float(penalty.detach()), torch.cat([value.flatten() for value in gradient])


@pytest.mark.parametrize("fresh", [False, True])
def test_the_gradient_is_that_of_the_task_and_of_the_authors_penalty(real: Real, fresh: bool) -> None:
    line, found = first_step(real, fresh=fresh)
    plain_line, plain = first_step(real, "aligned_sft", fresh=fresh)
    value, gradient = written_out(real, fresh=fresh)
    assert line["outside"] == pytest.approx(3 * value, rel=1e-4) and line["loss"] == pytest.approx(line["task"] + line["outside"])
    assert apart(found, plain + 3 * gradient) <= TOLERANCE and apart(3 * gradient, found) < 1
    assert line["task"] == plain_line["task"]


@pytest.mark.parametrize("way", WAYS)
def test_however_memory_is_saved_the_penalty_counts_once(real: Real, way: str) -> None:
    line, whole = first_step(real)
    frugal, found = first_step(real, **WAYS[way])
    assert apart(found, whole) <= TOLERANCE and frugal["outside"] == line["outside"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_held(tmp_path: Path, family: str) -> None:
    real = Real(tmp_path, family)
    line, found = first_step(real)
    _, plain = first_step(real, "aligned_sft")
    value, gradient = written_out(real, fresh=False)
    assert apart(found, plain + 3 * gradient) <= 5 * TOLERANCE and line["outside"] == pytest.approx(3 * value, rel=1e-4)


class Thin:
    """A layer with a start and a change."""

    def __init__(self, start: LowRank, change: LowRank) -> None:
        self.start, self.change = start, change


def test_an_update_within_the_directions_of_alignment_costs_nothing_and_one_across_them_its_square() -> None:
    """V = √k·U·Dᵀ with orthonormal columns: then C is the projector onto them."""
    rng = torch.Generator().manual_seed(5)
    basis = torch.linalg.qr(torch.randn(9, 4, generator=rng)).Q
    down = torch.linalg.qr(torch.randn(6, 2, generator=rng)).Q.T
    along, across = basis[:, :2], basis[:, 2:]
    start = LowRank(along * 2**0.5, down)
    inside = Thin(start, LowRank(along @ torch.randn(2, 3, generator=rng), torch.randn(3, 6, generator=rng)))
    outside = Thin(start, LowRank(across @ torch.randn(2, 3, generator=rng), torch.randn(3, 6, generator=rng)))
    assert float(HeldLayer(inside).outside()) == pytest.approx(0, abs=1e-9)  # type: ignore[arg-type]
    expected = float(outside.change.dense().square().sum())
    assert float(HeldLayer(outside).outside()) == pytest.approx(expected, rel=1e-5)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> TinyRuns:
    return TinyRuns(Workspace.open(tmp_path_factory.mktemp("asft-runs")), tiny_model, steps=5, optim=OPTIM)


@pytest.mark.parametrize("adapters", ["continue", "fresh"])
def test_at_the_start_nothing_is_outside_and_a_stronger_hold_leaves_less_there(tiny: TinyRuns, adapters: str) -> None:
    ends = []
    for lam in (0.01, 100.0):
        run = train(tiny.workspace, tiny.spec("asft", adapters=adapters, method_config={"lam": lam}), tiny.session, Silent())
        lines, costs = run.log(), run.costs()
        assert lines[0]["outside"] == 0.0 and costs is not None and costs["passes"] == {"teacher": 0, "forward": 9, "backward": 9}
        ends.append(lines[-1]["outside"] / lam)
    assert ends[1] < 0.5 * ends[0]


def test_weights_that_alignment_did_not_change_give_no_direction(tiny: TinyRuns, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="AsFT works only from weights that it has aligned"):
        tiny.spec("asft", start="base", aligned=None)
    real = Real(tmp_path)
    real.session.add(ALIGNED, real.lora, seed=3)
    with pytest.raises(TrainingError, match="no direction"):
        first_step(real, fresh=True)
