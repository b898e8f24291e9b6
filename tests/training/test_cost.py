"""The ledger of a run: times, passes and operations that can be checked by hand, carried over an interruption, changing no number."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reft_studio.training.cost import BACKWARD, FORWARD, TEACHER, Costs, counted_at

ROWS, LENGTH, WIDE, OUT = 3, 5, 8, 4


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Backbone(nn.Module):
    """Two linear layers, of which the second is trained: 2·8·8 + 2·8·4 operations for a token on the way forward."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen, self.trained = nn.Linear(WIDE, WIDE, bias=False), nn.Linear(WIDE, OUT, bias=False)
        self.frozen.requires_grad_(False)

    def forward(self, *, inputs: Tensor) -> Any:
        return SimpleNamespace(last_hidden_state=self.trained(self.frozen(inputs)))


def learn(backbone: Backbone, inputs: Tensor, *, backwards: int = 1) -> Tensor:
    loss = backbone(inputs=inputs).last_hidden_state.square().sum()
    for left in reversed(range(backwards)):
        (gradient,) = torch.autograd.grad(loss, [backbone.trained.weight], retain_graph=left > 0)
    return gradient


def inputs(rows: int = ROWS) -> Tensor:
    return torch.linspace(-1, 1, rows * LENGTH * WIDE).reshape(rows, LENGTH, WIDE)


def test_passes_and_tokens_of_every_kind_are_counted_in_every_step() -> None:
    costs, backbone = Costs(), Backbone()
    with costs.watching(backbone):
        for number in range(1, 5):
            with costs.step(number):
                learn(backbone, inputs(), backwards=2 if number == 1 else 1)
                with torch.no_grad():
                    backbone(inputs=inputs(1))
    learn(backbone, inputs())  # outside: not of this run
    ledger = costs.ledger()
    assert ledger["passes"] == {TEACHER: 4, FORWARD: 4, BACKWARD: 5}
    assert ledger["tokens"] == {TEACHER: 4 * LENGTH, FORWARD: 4 * ROWS * LENGTH, BACKWARD: 5 * ROWS * LENGTH}


def test_operations_are_those_of_the_matrix_products_also_in_steps_that_are_not_counted() -> None:
    costs, backbone, steps = Costs(), Backbone(), 7
    with costs.watching(backbone):
        for number in range(1, steps + 1):
            with costs.step(number):
                learn(backbone, inputs())
    tokens, flops = steps * ROWS * LENGTH, costs.ledger()["flops"]
    assert costs.ledger()["counted_steps"] == 2
    assert flops[FORWARD] == tokens * 2 * (WIDE * WIDE + WIDE * OUT)
    assert flops[BACKWARD] == tokens * 2 * WIDE * OUT  # by the trained weight alone
    assert flops[TEACHER] == 0


def test_attention_counts_two_products_forward_and_five_back() -> None:
    costs = Costs()
    queries = torch.randn(1, 2, 6, 4, requires_grad=True)

    class Attention(nn.Module):
        def forward(self, *, inputs: Tensor) -> Any:
            found = nn.functional.scaled_dot_product_attention(inputs, inputs, inputs, is_causal=True)
            return SimpleNamespace(last_hidden_state=found.flatten(0, 1))

    attention = Attention()
    with costs.watching(attention), costs.step(1):
        attention(inputs=queries).last_hidden_state.sum().backward()
    product = 2 * 2 * 6 * 6 * 4
    assert costs.ledger()["flops"] == {TEACHER: 0, FORWARD: 2 * product, BACKWARD: 5 * product}


def test_counting_changes_no_bit_of_a_gradient() -> None:
    backbone, costs = Backbone(), Costs()
    plain = learn(backbone, inputs())
    with costs.watching(backbone), costs.step(1):
        counted = learn(backbone, inputs())
    assert torch.equal(plain, counted)


def test_a_stage_inside_another_is_taken_out_of_its_time() -> None:
    clock = Clock()
    costs = Costs(clock=clock)
    with costs.stage("train"):
        clock.now += 5
        with costs.stage("teacher states"):
            clock.now += 2
        clock.now += 1
    with costs.stage("save"):
        clock.now += 0.5
    stages = {one["stage"]: one for one in costs.ledger()["stages"]}
    assert {name: one["seconds"] for name, one in stages.items()} == {"train": 6, "teacher states": 2, "save": 0.5}
    assert stages["train"]["memory_mb"] > 0 and stages["teacher states"]["memory_mb"] is None
    assert costs.seconds == 8.5


def test_what_an_interrupted_attempt_had_spent_up_to_its_checkpoint_is_kept() -> None:
    clock, backbone = Clock(), Backbone()
    first = Costs(clock=clock)
    with pytest.raises(KeyboardInterrupt), first.stage("train"), first.watching(backbone):
        for number in (1, 2):
            with first.step(number):
                learn(backbone, inputs())
            clock.now += 3
        kept = json.loads(json.dumps(first.state()))
        raise KeyboardInterrupt
    second = Costs(clock=clock)
    with second.stage("load"):
        clock.now += 1
    with second.stage("train"), second.watching(backbone):
        second.restore(kept)
        with second.step(3):
            learn(backbone, inputs())
        clock.now += 4
    ledger = second.ledger()
    assert {one["stage"]: one["seconds"] for one in ledger["stages"]} == {"load": 1, "train": 10}
    assert ledger["passes"][BACKWARD] == 3 and ledger["counted_steps"] == 2
    assert ledger["flops"][FORWARD] == 3 * ROWS * LENGTH * 2 * (WIDE * WIDE + WIDE * OUT)


def test_operations_are_counted_in_a_handful_of_steps_however_long_a_run_is() -> None:
    assert [number for number in range(1, 20_000) if counted_at(number)] == [1, 2, 10, 100, 1000, 10_000]


def test_a_step_that_fails_leaves_no_half_count() -> None:
    costs, backbone = Costs(), Backbone()
    with costs.watching(backbone):
        with pytest.raises(KeyboardInterrupt), costs.step(1):
            backbone(inputs=inputs())
            raise KeyboardInterrupt
        with costs.step(2):
            learn(backbone, inputs())
    assert costs.ledger()["flops"][FORWARD] == 2 * ROWS * LENGTH * 2 * (WIDE * WIDE + WIDE * OUT)


def test_user_tokens_are_the_share_of_each_pass_that_is_of_user_rows() -> None:
    costs, backbone = Costs(), Backbone()
    with costs.watching(backbone):
        with costs.sharing(0.6):
            learn(backbone, inputs(), backwards=2)
            with torch.no_grad():
                backbone(inputs=inputs())  # the teacher's
        learn(backbone, inputs())
    assert costs.ledger()["user_tokens"] == round(1.6 * ROWS * LENGTH)


def test_a_checkpoint_from_before_user_rows_were_told_apart_leaves_them_unknown() -> None:
    costs = Costs()
    state = {name: value for name, value in costs.state().items() if name != "user"}
    costs.restore(state)
    with costs.watching(backbone := Backbone()):
        learn(backbone, inputs())
    assert costs.ledger()["user_tokens"] is None


def test_what_was_spent_before_a_run_is_in_its_ledger_and_not_in_its_seconds() -> None:
    clock = Clock()
    costs = Costs(clock=clock)
    with costs.stage("load"):
        clock.now += 3
    with costs.stage("train"):
        clock.now += 4
    assert costs.of("load") == 3 and costs.seconds - costs.of("load") == 4 and costs.of("never") == 0
    assert [one["stage"] for one in costs.spent()["stages"]] == ["load", "train"]


def test_a_loss_of_what_a_block_answers_alone_is_a_pass_back_too() -> None:
    """The last answer gets no gradient there; where both get one, it is one pass."""
    costs, backbone, kept = Costs(), Backbone(), list[Tensor]()
    block = nn.Linear(WIDE, WIDE, bias=False)
    backbone.frozen = block
    with costs.watching(backbone, [block]):
        handle = block.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        backbone(inputs=inputs())
        torch.autograd.grad(kept[0].square().sum(), [block.weight])
        last = backbone(inputs=inputs()).last_hidden_state
        torch.autograd.grad(kept[1].sum() + last.square().sum(), [block.weight])
        handle.remove()
    assert costs.ledger()["passes"] == {TEACHER: 0, FORWARD: 2, BACKWARD: 2}
