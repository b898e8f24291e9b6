"""The training loop shared by all methods: a method adds gradients; this steps, schedules, clips, logs and can be cancelled."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from reft_studio.errors import TrainingError, is_out_of_memory
from reft_studio.models.generation import free_memory
from reft_studio.models.snapshot import Keeper, NotFinite, Resumable, TrainingParts
from reft_studio.models.spec import OptimSpec

StepLog = dict[str, float]
GradientStep = Callable[[int], StepLog]
"""Adds to `.grad` and returns what to log: named losses, `tokens` read; the loop adds step, lr, grad_norm, speed and memory."""


def fit(
    parameters: Sequence[Tensor],
    step: GradientStep,
    *,
    steps: int,
    optim: OptimSpec,
    after: int = 0,
    until: int | None = None,
    log: Callable[[StepLog], None] = lambda line: None,
    check: Callable[[], None] = lambda: None,
    seed: int = 0,
    keeper: Keeper | None = None,
    parts: Mapping[str, Resumable] | None = None,
) -> int:
    """Run optimizer steps up to `until` (None: all) of a schedule of `steps`, then another of `after`; returns the last step's number.

    `seed` determines dropout inside the loop and nothing outside. With a `keeper` training resumes from the newest snapshot and saves
    others on the way, at the end, and when `check` or `log` stops it; `parts` are further state that changes step by step. Raises
    NotFinite before such a loss can reach the weights.
    """
    optimizer = torch.optim.AdamW(
        parameters, lr=optim.learning_rate, weight_decay=optim.weight_decay, betas=(0.9, 0.999), fused=parameters[0].device.type != "mps"
    )
    device, end = parameters[0].device, min(until or steps + after, steps + after)
    training = TrainingParts(parameters, optimizer, parts or {})
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with torch.random.fork_rng(devices={value.device for value in parameters if value.is_cuda}):
        torch.manual_seed(seed)
        done = 0
        if keeper is not None and (snapshot := keeper.newest()) is not None:
            training.restore(snapshot)
            done = snapshot.step
        began = done

        def stoppable(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException:
                if keeper is not None and done > began:
                    keeper.save(training.snapshot(done))
                raise

        for number in range(done + 1, end + 1):
            stoppable(check)
            line = _optimizer_step(number, (steps, after), parameters, optimizer, step, optim)
            done = number
            stoppable(partial(log, line))  # whoever is told may look at the student, and be stopped while it answers
            if keeper is not None and (done == end or keeper.due()):
                keeper.save(training.snapshot(done))
    return done


def _optimizer_step(
    number: int,
    schedules: tuple[int, int],
    parameters: Sequence[Tensor],
    optimizer: torch.optim.Optimizer,
    step: GradientStep,
    optim: OptimSpec,
) -> StepLog:
    """Step `number` of two consecutive schedules of these lengths; returns its log line."""
    started = time.perf_counter()
    first, second = schedules
    position, length = (number, first) if number <= first else (number - first, second)
    rate = optim.learning_rate * learning_rate_factor(position, steps=length, optim=optim)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    losses = step(number)
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, optim.max_grad_norm))
    if not math.isfinite(norm) or not all(math.isfinite(value) for value in losses.values()):
        raise NotFinite(f"At step {number} the loss or its gradient is not a finite number. Lower the learning rate (now {rate:.2g}).")
    _apply(optimizer)
    elapsed = time.perf_counter() - started
    tokens = losses.pop("tokens", 0.0)
    return {
        "step": number,
        "steps": first + second,
        **losses,
        "lr": rate,
        "grad_norm": norm,
        "tokens": tokens,
        "tokens_per_second": tokens / max(elapsed, 1e-9),
        "memory_mb": peak_memory(parameters[0].device),
    }


def _apply(optimizer: torch.optim.Optimizer) -> None:
    """The optimizer's step. It allocates before it changes a weight, so after running out of memory it is tried once more."""
    try:
        optimizer.step()
    except (RuntimeError, MemoryError) as exc:
        if not is_out_of_memory(exc):
            raise
    else:
        return
    free_memory()  # outside the handler, whose traceback would hold what the step took
    try:
        optimizer.step()
    except (RuntimeError, MemoryError) as exc:
        if not is_out_of_memory(exc):
            raise
        raise TrainingError("The optimizer's state does not fit into memory. Lower the LoRA rank, or hold the base in 4 bits.") from exc


def peak_memory(device: torch.device) -> float:
    """Peak MB: of tensors on a CUDA device since training began, else of this process over its lifetime."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource  # only where training runs: not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def learning_rate_factor(step: int, *, steps: int, optim: OptimSpec) -> float:
    """Share of the peak learning rate at `step` (from 1): linear warm-up, then constant or a cosine down to 0."""
    warmup = round(optim.warmup * steps)
    if step <= warmup:
        return step / warmup
    if optim.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - 1 - warmup) / max(steps - warmup, 1)))


def backward(losses: dict[str, Tensor], parameters: Sequence[Tensor]) -> StepLog:
    """Add the gradient of the sum of `losses` to `.grad`; returns the losses as numbers, with their sum as `loss`."""
    stacked = torch.stack(list(losses.values()))
    torch.autograd.backward(stacked.sum(), inputs=list(parameters))
    values = dict(zip(losses, stacked.tolist(), strict=True))
    return {**values, "loss": sum(values.values())}


def cosine(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Cosine between two gradients over all parameters; 0 if one of them is zero."""
    pairs = ((first, second), (first, first), (second, second))
    dot, first_square, second_square = torch.stack([sum_of_products(left, right) for left, right in pairs]).tolist()
    return float(dot / math.sqrt(first_square * second_square)) if first_square * second_square > 0 else 0.0


def sum_of_products(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """The inner product of two lists of tensors, a scalar."""
    return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()
