"""A step in several passes gives the gradient of the undivided batch, also after running out of memory; so does recomputation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reft_studio.errors import TrainingError
from reft_studio.models import accumulate
from reft_studio.models.accumulate import Accumulator, MicroBatches
from reft_studio.models.batching import Batch, collate
from reft_studio.models.fit import StepLog
from reft_studio.models.packing import Packer
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec
from reft_studio.models.supervised import Supervised, supervise
from tests.models.test_packing import rows
from tests.tiny_models import make_model


class Bench:
    def __init__(self, folder: Path) -> None:
        self.session = Session.open(str(folder))
        self.session.add("student", LoraSpec(), seed=1)
        self.parameters = self.session.adapted.parameters("student")
        torch.manual_seed(0)
        with torch.no_grad():
            for value in self.parameters:
                value.add_(0.05 * torch.randn_like(value))
        pad = self.session.model.pad_id
        self.batches = [collate(rows()[:4], pad_id=pad), collate(rows()[4:], pad_id=pad)]

    def learn(
        self, pieces: MicroBatches | None = None, *, conflict: bool = False, packing: bool = False, checkpointing: bool = False
    ) -> tuple[StepLog, Tensor]:
        """What a step logs, and its gradient as one vector."""
        for value in self.parameters:
            value.grad = None
        with self.session.adapted.active("student", train=True, checkpointing=checkpointing) as backbone:
            packer = Packer(self.session.model, backbone) if packing else None
            adder = Accumulator(self.session.model, backbone, self.parameters, packer=packer, pieces=pieces)
            log = adder.learn(losses, self.batches, conflict=conflict)
        return log, torch.cat([value.grad.flatten() for value in self.parameters if value.grad is not None])


def losses(task: Supervised, alignment: Supervised) -> dict[str, Tensor]:
    teacher = torch.zeros_like(alignment.hidden)
    return {"task": task.cross_entropy(), "alignment": 0.5 * alignment.distillation(teacher, temperature=2.0)}


@pytest.fixture(scope="module")
def bench(tiny_model: Path) -> Bench:
    return Bench(tiny_model)


def assert_same(found: tuple[StepLog, Tensor], whole: tuple[StepLog, Tensor]) -> None:
    assert found[0] == pytest.approx(whole[0], rel=1e-5, abs=1e-6)
    assert float((found[1] - whole[1]).norm() / whole[1].norm()) <= 1e-5


@pytest.mark.parametrize("conflict", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_micro_batches_give_losses_gradient_and_conflict_of_the_undivided_batch(bench: Bench, size: int, conflict: bool) -> None:
    assert_same(bench.learn(MicroBatches(size), conflict=conflict), bench.learn(conflict=conflict))


def test_measuring_the_conflict_does_not_change_the_gradient(bench: Bench) -> None:
    log, gradient = bench.learn(conflict=True)
    plain_log, plain = bench.learn()
    assert -1 <= log["grad_cosine"] <= 1 and "grad_cosine" not in plain_log
    assert float((gradient - plain).norm() / plain.norm()) <= 1e-6


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_recomputing_activations_changes_neither_loss_nor_gradient(family: str, tmp_path: Path) -> None:
    bench = Bench(make_model(tmp_path / family, family))
    runs = 0

    def count(*_: Any) -> None:
        nonlocal runs
        runs += 1

    handle = next(iter(bench.session.model.blocks[0].children())).register_forward_hook(count)
    recomputed = bench.learn(checkpointing=True)
    twice, runs = runs, 0
    whole = bench.learn()
    handle.remove()
    assert (twice, runs) == (2, 1)
    assert recomputed[0] == whole[0]
    torch.testing.assert_close(recomputed[1], whole[1], rtol=0, atol=0)


def test_packing_and_micro_batches_and_recomputation_go_together(bench: Bench) -> None:
    assert_same(bench.learn(MicroBatches(3), packing=True, checkpointing=True), bench.learn())


def test_memory_of_the_machine_counts_as_that_of_an_accelerator() -> None:
    done: list[int] = []

    def scarce(items: Sequence[int]) -> None:
        if len(items) > 2:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        done.extend(items)

    MicroBatches().work([1, 2, 3, 4, 5], scarce)
    assert done == [1, 2, 3, 4, 5]


def test_what_is_no_want_of_memory_is_raised_as_it_is() -> None:
    def broken(_items: Sequence[int]) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        MicroBatches().work([1, 2, 3], broken)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_out_of_memory_halves_the_pieces_and_leaves_the_result_as_it_is(bench: Bench, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bench.learn()
    real: Any = supervise if where == "forward" else torch.autograd.grad
    warnings: list[str] = []
    left = [True, True]

    def failing(*args: Any, **rest: Any) -> Any:
        if left:
            left.pop()
            raise torch.OutOfMemoryError("out of memory")
        return real(*args, **rest)

    if where == "forward":
        monkeypatch.setattr(accumulate, "supervise", failing)
    else:
        monkeypatch.setattr(accumulate.torch.autograd, "grad", failing)
    pieces = MicroBatches(warn=warnings.append)
    assert_same(bench.learn(pieces), whole)
    assert pieces.rows == 2 and len(warnings) == 2 and "7 rows" in warnings[0] and "4 rows" in warnings[1]


def test_a_single_row_that_does_not_fit_ends_with_advice() -> None:
    def never(_items: Sequence[int]) -> None:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(TrainingError, match=r"single row does not fit.*max_length.*gradient_checkpointing"):
        MicroBatches().work([1, 2, 3], never)


def test_a_whole_batch_without_a_supervised_token_is_refused(bench: Bench) -> None:
    silent = Batch(tuple(type(row)(row.ids[: row.prompt], row.prompt, row.index) for row in bench.batches[0].examples), 0)
    with pytest.raises(TrainingError, match="no token to train on"), bench.session.adapted.active("student", train=True) as backbone:
        supervise(bench.session.model, backbone, [silent])
