"""Losses of a whole batch's inner states that are no sums over rows: alike in one pass and in many, also after running out of memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reft_studio.models import accumulate
from reft_studio.models.accumulate import Pass
from reft_studio.models.joint_losses import Capture, States
from reft_studio.models.module_outputs import block_modules, capture_outputs
from reft_studio.models.spec import LoraSpec
from tests.defenses.real import TOLERANCE, WAYS, Real, apart

Found = tuple[dict[str, float], Tensor]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return Real(tmp_path_factory.mktemp("joint"))


def together(states: States) -> dict[str, Tensor]:
    """A logarithm of a sum over rows, and the products of different rows' means."""
    means = torch.stack([value.float().mean(0) for value in states.values()])
    return {"logarithm": means.square().sum().log(), "between": (means @ means.T).tanh().sum()}


def learn(real: Real, *, seen: Callable[[Capture], Capture] = lambda plain: plain, **optim: Any) -> Found:
    """What a step with these losses and the plain one logs, and its gradient."""
    with real.training("sft", {}, **optim) as (_, run):
        look = seen(capture_outputs(block_modules(run.model, "mlp")))
        line = run.learn_jointly(run.collate(real.user), look, together, extra=lambda rows: {"task": rows.cross_entropy()})
        found = torch.cat([value.grad.flatten() for value in run.weights.parameters if value.grad is not None])
        passes = run.costs.ledger()["passes"]
        for value in run.weights.parameters:
            value.grad = None
    return {**line, **passes}, found


@pytest.mark.parametrize("way", WAYS)
def test_in_pieces_values_and_gradient_are_those_of_the_whole_batch(real: Real, way: str) -> None:
    line, whole = learn(real)
    frugal, found = learn(real, **WAYS[way])
    assert apart(found, whole) <= TOLERANCE
    for name in ("logarithm", "between", "task", "loss"):
        assert frugal[name] == pytest.approx(line[name], rel=1e-5)


def test_only_where_memory_splits_the_batch_it_is_read_once_more(real: Real) -> None:
    line, frugal = learn(real)[0], learn(real, micro_batch_size=2)[0]
    assert (line["teacher"], line["forward"], line["backward"]) == (0, 1, 1)
    assert (frugal["teacher"], frugal["forward"], frugal["backward"]) == (2, 2, 2)


@pytest.mark.parametrize("fails", [(1,), (1, 2), (1, 3)])
def test_running_out_of_memory_leaves_values_and_gradient_as_they_are(
    real: Real, fails: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    line, whole = learn(real)
    calls, gradients = [0], accumulate.Accumulator._gradients

    def scarce(self: Any, losses: Any, **rest: Any) -> Any:
        calls[0] += 1
        if calls[0] in fails:
            raise torch.OutOfMemoryError("out of memory")
        return gradients(self, losses, **rest)

    monkeypatch.setattr(accumulate.Accumulator, "_gradients", scarce)
    frugal, found = learn(real)
    assert calls[0] > len(fails) + 1 and apart(found, whole) <= TOLERANCE
    assert frugal["loss"] == pytest.approx(line["loss"], rel=1e-5)


def test_what_is_read_first_is_what_is_learnt_from_dropout_and_all(tmp_path: Path) -> None:
    real = Real(tmp_path, lora=LoraSpec(rank=4, alpha=64, dropout=0.5))
    saw: list[dict[Hashable, Tensor]] = []

    def noting(plain: Capture) -> Capture:
        @contextmanager
        def seen(one: Pass) -> Iterator[Callable[[], dict[Hashable, Tensor]]]:
            with plain(one) as states:

                def noted() -> dict[Hashable, Tensor]:
                    saw.append({key: value.detach().clone() for key, value in states().items()})
                    return states()

                yield noted

        return seen

    learn(real, seen=noting, micro_batch_size=2)
    assert len(saw) == 4
    for read, learnt in ((saw[0], saw[2]), (saw[1], saw[3])):
        assert all(torch.equal(value, learnt[key]) for key, value in read.items())
