"""Lisa against its rule, on quadratics: git-disl/Lisa@68e3659, `trainer.py`, `LisaTrainer`."""

from __future__ import annotations

import pytest
import torch

from reft_studio.defenses.lisa import Lisa, LisaConfig
from tests.defenses.toy import Quadratic, ToyContext

ALIGNMENT, USER = Quadratic.drawn(2), Quadratic.drawn(4)


def lisa(**settings: float) -> tuple[Lisa, ToyContext]:
    context = ToyContext({"alignment": ALIGNMENT, "user": USER}, steps=20)
    return Lisa(LisaConfig(**settings), context), context  # type: ignore[arg-type]


def descend(method: Lisa, context: ToyContext, steps: int, *, rate: float = 0.05) -> list[torch.Tensor]:
    """Plain gradient descent with the method's gradients; the weights after each step."""
    seen = []
    for number in range(context.step, context.step + steps):
        context.step = number
        method.finetune_step("user")  # type: ignore[arg-type]
        gradient = context.flat_gradient()
        at = 0
        with torch.no_grad():
            for value in context.parameters:
                value -= rate * gradient[at : at + value.numel()].view_as(value)
                at += value.numel()
        seen.append(context.flat())
    return seen


def test_turns_alternate_and_each_is_pulled_to_the_weights_it_began_with_after_a_tenth_of_the_steps() -> None:
    method, context = lisa(rho=0.5, alignment_steps=2, user_steps=3)
    w = anchor = context.flat()
    expected = []
    for step in range(1, 13):
        place = (step - 1) % 5
        if place in (0, 2):
            anchor = w
        gradient = (ALIGNMENT if place < 2 else USER).gradient(w)
        if step > 2:  # a tenth of 20
            gradient = gradient + 0.5 * (w - anchor)
        w = w - 0.05 * gradient
        expected.append(w)
    assert all(torch.allclose(one, two, atol=1e-12) for one, two in zip(descend(method, context, 12), expected, strict=True))


def test_without_a_pull_it_is_pure_alternation_and_without_alignment_steps_plain_finetuning() -> None:
    method, context = lisa(rho=0.0, alignment_steps=1, user_steps=1)
    w = context.flat()
    expected = [w := w - 0.05 * (ALIGNMENT if step % 2 else USER).gradient(w) for step in range(1, 7)]
    assert all(torch.allclose(one, two, atol=1e-12) for one, two in zip(descend(method, context, 6), expected, strict=True))
    method, context = lisa(rho=5.0, alignment_steps=0)
    w = context.flat()
    expected = [w := w - 0.05 * USER.gradient(w) for _ in range(6)]
    assert all(torch.allclose(one, two, atol=1e-12) for one, two in zip(descend(method, context, 6), expected, strict=True))


def test_right_after_a_turn_nothing_pulls_and_the_pull_is_logged_as_part_of_the_loss() -> None:
    method, context = lisa(rho=2.0, alignment_steps=1, user_steps=4)
    context.step = 6  # a turn begins, after the first tenth
    assert method.finetune_step("user")["pull"] == 0.0  # type: ignore[arg-type]
    context.flat_gradient()
    context.step = 7
    with torch.no_grad():
        context.parameters[0].add_(1.0)  # four entries: the turn to user data begins here, so they are the anchor
    method.finetune_step("user")  # type: ignore[arg-type]
    context.flat_gradient()
    context.step = 8
    with torch.no_grad():
        context.parameters[0].add_(1.0)
    line = method.finetune_step("user")  # type: ignore[arg-type]
    assert line["pull"] == pytest.approx(0.5 * 2.0 * 4)
    assert line["loss"] == pytest.approx(float(USER(context.parameters).detach()) + line["pull"])


def test_an_interrupted_turn_goes_on_with_its_anchor() -> None:
    whole, context = lisa(rho=1.0, alignment_steps=2, user_steps=5)
    expected = descend(whole, context, 10)
    first, one = lisa(rho=1.0, alignment_steps=2, user_steps=5)
    descend(first, one, 5)
    again, two = lisa(rho=1.0, alignment_steps=2, user_steps=5)
    two.weights.restore(one.parameters)
    two.step = 6
    again.restore(first.state())
    assert torch.equal(descend(again, two, 5)[-1], expected[-1])
