"""The training loop: what it logs, how the learning rate moves, and that nothing broken reaches the weights."""

from __future__ import annotations

import pytest
import torch

from reft_studio.errors import TrainingError
from reft_studio.models.fit import StepLog, backward, cosine, fit, learning_rate_factor
from reft_studio.models.spec import OptimSpec


def weight() -> torch.Tensor:
    return torch.tensor([1.0, -2.0], requires_grad=True)


def test_every_step_logs_losses_rate_gradient_norm_speed_and_memory() -> None:
    value = weight()
    lines: list[StepLog] = []

    def step(_number: int) -> StepLog:
        return {**backward({"task": (value**2).sum(), "alignment": value.sum()}, [value]), "tokens": 100.0}

    last = fit([value], step, steps=3, optim=OptimSpec(learning_rate=0.1, warmup=0, schedule="constant"), log=lines.append)
    assert [line["step"] for line in lines] == [1, 2, 3] and last == 3
    first = lines[0]
    assert (first["task"], first["alignment"], first["loss"], first["lr"]) == (5.0, -1.0, 4.0, pytest.approx(0.1))
    assert first["grad_norm"] == pytest.approx(18**0.5)  # the gradient 2w + 1 is (3, -3)
    assert first["tokens_per_second"] > 0 and first["memory_mb"] > 10


def test_the_learning_rate_rises_then_falls_to_almost_nothing() -> None:
    optim = OptimSpec(warmup=0.2, schedule="cosine")
    factors = [learning_rate_factor(step, steps=10, optim=optim) for step in range(1, 11)]
    assert factors[:3] == [0.5, 1.0, 1.0] and factors[2:] == sorted(factors[2:], reverse=True) and 0 < factors[-1] < 0.05


def test_steps_after_the_first_schedule_have_one_of_their_own() -> None:
    value = weight()
    lines: list[StepLog] = []
    optim = OptimSpec(warmup=0.5, schedule="cosine", learning_rate=0.1)

    def run(**until: int) -> int:
        lines.clear()
        return fit(
            [value], lambda number: backward({"task": value.sum()}, [value]), steps=4, after=6, optim=optim, log=lines.append, **until
        )

    assert run() == 10 and {line["steps"] for line in lines} == {10}
    expected = [0.1 * learning_rate_factor(step, steps=steps, optim=optim) for steps in (4, 6) for step in range(1, steps + 1)]
    assert [line["lr"] for line in lines] == pytest.approx(expected)
    assert run(until=5) == 5 and lines[-1]["lr"] == pytest.approx(0.1 / 3)


def test_a_loss_that_is_not_finite_stops_before_the_weights_change() -> None:
    value = weight()

    def step(_number: int) -> StepLog:
        return backward({"task": (value * float("nan")).sum()}, [value])

    with pytest.raises(TrainingError, match=r"At step 1 .*not a finite number"):
        fit([value], step, steps=1, optim=OptimSpec())
    assert value.tolist() == [1.0, -2.0]


def test_the_cosine_of_gradients_is_that_of_all_parameters_together() -> None:
    one, two = [torch.tensor([3.0]), torch.tensor([[0.0, 4.0]])], [torch.tensor([0.0]), torch.tensor([[0.0, 2.0]])]
    assert cosine(one, two) == pytest.approx(0.8)
    assert cosine(one, [torch.zeros(1), torch.zeros(1, 2)]) == 0.0
