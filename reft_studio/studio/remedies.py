"""What would help where planned runs do not fit, cheapest first, and how tight it is where they do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reft_studio.models.spec import OptimSpec
from reft_studio.studio.run_form import RunPlan

Act = Literal["micro", "checkpointing", "nf4", "length"]
SETTINGS: dict[Act, str] = {
    "micro": "optim.micro_batch_size",
    "checkpointing": "optim.gradient_checkpointing",
    "nf4": "loading.quantization",
    "length": "optim.max_length",
}
"""The setting that each remedy changes."""
SHORTEST = 64
"""Tokens of a row, below which no shorter ones are proposed: the least that settings allow."""
SPARE = 2e9
"""Bytes that should be left, on the disk as the caches leave them, and of the machine's own memory for other programs."""


@dataclass(frozen=True)
class Remedy:
    """A change of one setting."""

    act: Act
    before: Any
    after: Any


def tightness(wanted: float, free: float) -> Literal["ok", "tight", "no"]:
    """Whether so many bytes fit into those that are free, and leave some."""
    return "no" if wanted > free else "tight" if wanted > free - SPARE else "ok"


def changes(optim: OptimSpec, *, guided: bool) -> dict[Act, Any]:
    """What each remedy sets its setting to. `guided`: a step has alignment rows too."""
    return {"micro": _half(rows_at_once(optim, guided=guided)), "checkpointing": True, "nf4": "nf4", "length": _shorter(optim)}


def rows_at_once(optim: OptimSpec, *, guided: bool) -> int:
    """Rows that are in memory together in a step."""
    rows = optim.batch_size + (optim.alignment_batch_size if guided else 0)
    return min(rows, optim.micro_batch_size or rows)


def remedies(plans: Sequence[RunPlan]) -> list[Remedy]:
    """What would help the runs that do not fit, or hardly; none where all fit."""
    pressed = [plan for plan in plans if not plan.done_already and (plan.fit.refused or plan.fit.warning)]
    if not pressed:
        return []
    optim = pressed[0].spec.optim
    rows = max(rows_at_once(plan.spec.optim, guided=plan.spec.harmful is not None) for plan in pressed)
    found = [Remedy("micro", rows, _half(rows))] if rows > 1 else []
    found += [] if optim.gradient_checkpointing else [Remedy("checkpointing", False, True)]
    found += [Remedy("nf4", "none", "nf4")] if all(map(_may_be_packed, pressed)) else []
    return [*found, *([Remedy("length", optim.max_length, _shorter(optim))] if optim.max_length > SHORTEST else [])]


def untimed(plans: Sequence[RunPlan]) -> list[RunPlan]:
    """For each method whose time is not known exactly the last of its runs that are still to be done."""
    wanted = (plan for plan in plans if not plan.done_already and (plan.time is None or not plan.time.exact))
    return list({plan.spec.method: plan for plan in wanted}.values())


def _half(rows: int) -> int:
    return math.ceil(rows / 2)


def _shorter(optim: OptimSpec) -> int:
    return max(SHORTEST, optim.max_length // 2)


def _may_be_packed(plan: RunPlan) -> bool:
    """Whether 4-bit weights are a way: on a CUDA device, and not held as a teacher or aligned weights were made."""
    on_cuda = plan.fit.space is not None and plan.fit.space.device.startswith("cuda")
    return on_cuda and plan.spec.loading.quantization == "none" and not (plan.spec.teacher or plan.spec.aligned)
