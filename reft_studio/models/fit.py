"""The one training loop: every method fills gradients, this steps, schedules, clips, logs and can be cancelled."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from reft_studio.errors import TrainingError
from reft_studio.models.spec import OptimSpec

StepLog = dict[str, float]
GradientStep = Callable[[int], StepLog]
"""Adds to `.grad` and returns what to log: named losses, `tokens`; the loop adds step, lr, grad_norm and speed."""


def fit(
    parameters: Sequence[Tensor],
    step: GradientStep,
    *,
    steps: int,
    optim: OptimSpec,
    log: Callable[[StepLog], None] = lambda line: None,
    check: Callable[[], None] = lambda: None,
    seed: int = 0,
) -> StepLog:
    """Run `steps` optimizer steps; returns the last log line. `seed` decides what dropout draws, and nothing outside.

    Raises TrainingError on the first loss that is not finite, before it can reach the weights.
    """
    optimizer = torch.optim.AdamW(parameters, lr=optim.learning_rate, weight_decay=optim.weight_decay, betas=(0.9, 0.999))
    line: StepLog = {}
    with torch.random.fork_rng(devices={value.device for value in parameters if value.is_cuda}):
        torch.manual_seed(seed)
        for number in range(1, steps + 1):
            check()
            started = time.perf_counter()
            rate = optim.learning_rate * learning_rate_factor(number, steps=steps, optim=optim)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            losses = step(number)
            norm = float(torch.nn.utils.clip_grad_norm_(parameters, optim.max_grad_norm))
            if not math.isfinite(norm) or not all(math.isfinite(value) for value in losses.values()):
                raise TrainingError(
                    f"At step {number} the loss or its gradient is not a finite number. Lower the learning rate (now {rate:.2g})."
                )
            optimizer.step()
            elapsed = time.perf_counter() - started
            tokens = losses.pop("tokens", 0.0)
            line = {
                "step": number,
                "steps": steps,
                **losses,
                "lr": rate,
                "grad_norm": norm,
                "tokens_per_second": tokens / max(elapsed, 1e-9),
            }
            log(line)
    return line


def learning_rate_factor(step: int, *, steps: int, optim: OptimSpec) -> float:
    """Share of the peak learning rate at `step` (from 1): linear warm-up, then constant or a cosine down to 0."""
    warmup = round(optim.warmup * steps)
    if step <= warmup:
        return step / warmup
    if optim.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - 1 - warmup) / max(steps - warmup, 1)))


def backward(losses: dict[str, Tensor], parameters: Sequence[Tensor], *, conflict: bool = False) -> StepLog:
    """Add the gradient of the sum of `losses` to `.grad`; returns the losses as numbers.

    With `conflict` and exactly the losses `task` and `alignment`, the two gradients are taken apart and their cosine is
    logged as `grad_cosine`: the gradient conflict of arXiv:2506.07356.
    """
    logged = {name: float(loss.detach()) for name, loss in losses.items()}
    logged["loss"] = sum(logged.values())
    if conflict and losses.keys() == {"task", "alignment"}:
        # an expert of a mixture may see no token of a batch: its gradient is zero then
        first = torch.autograd.grad(losses["task"], parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        second = torch.autograd.grad(losses["alignment"], parameters, allow_unused=True, materialize_grads=True)
        logged["grad_cosine"] = cosine(first, second)
        for value, one, two in zip(parameters, first, second, strict=True):
            value.grad = one + two if value.grad is None else value.grad + one + two
        return logged
    total: Any = sum(losses.values())
    total.backward()
    return logged


def cosine(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Cosine between two gradients over all parameters; 0 if one of them vanishes."""
    dot = sum(float((one * two).sum()) for one, two in zip(first, second, strict=True))
    norms = math.sqrt(sum(float((one * one).sum()) for one in first)) * math.sqrt(sum(float((two * two).sum()) for two in second))
    return dot / norms if norms > 0 else 0.0
