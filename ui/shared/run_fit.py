"""Whether the planned runs fit this machine: memory, disk, time; and what would help, as buttons."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reft_studio.defenses import DEFENSES
from ui.text import counted, seconds, show, size

if TYPE_CHECKING:
    from reft_studio.studio.run_form import RunPlan
    from reft_studio.studio.run_needs import Time
    from reft_studio.studio.studio import Studio

MEASURE = "measure"
CHANGED = ("optim.micro_batch_size", "optim.gradient_checkpointing", "loading.quantization", "optim.max_length")
"""Fields that remedies change."""
_NAMED = 4
"""Methods whose time is not known that are named."""
SHORTEST = 64
"""Tokens of a row, below which no shorter ones are proposed: the least that settings allow."""
_SPARE = 2e9
"""Bytes of disk that should be left, as the caches leave them; of the machine's own memory too, for other programs."""


def checks(studio: Studio, plans: Sequence[RunPlan], *, evaluate: bool) -> list[dict[str, str]]:
    """Memory, disk and time as lines with a kind: ok, tight, no, or quiet where it is not known."""
    fresh = [plan for plan in plans if not plan.done_already]
    return [line for line in (_memory(fresh), _host(fresh), _disk(studio, fresh), _time(fresh, evaluate=evaluate)) if line]


def remedies(plans: Sequence[RunPlan]) -> list[dict[str, str]]:
    """Buttons that change the form so that the runs fit, cheapest first; and one that times steps where nothing tells their time."""
    fresh = [plan for plan in plans if not plan.done_already]
    found = []
    pressed = [plan for plan in fresh if plan.fit.refused or plan.fit.warning]
    if pressed:
        optim = pressed[0].spec.optim
        rows = max(_rows(plan) for plan in pressed)
        if rows > 1:
            found.append(("micro", f"Micro-batch {rows} → {math.ceil(rows / 2)}"))
        if not optim.gradient_checkpointing:
            found.append(("checkpointing", "Gradient checkpointing on"))
        if all(_may_be_packed(plan) for plan in pressed):
            found.append(("nf4", "Hold the base in 4 bits"))
        if optim.max_length > SHORTEST:
            found.append(("length", f"Length {optim.max_length} → {max(SHORTEST, optim.max_length // 2)} tokens"))
    if any(plan.time is None or not plan.time.exact for plan in fresh) and not any(plan.fit.refused for plan in fresh):
        found.append((MEASURE, "Measure the time"))
    return [{"act": act, "text": text} for act, text in found]


def measure(studio: Studio, plans: Sequence[RunPlan]) -> str:
    """Queue the timing of a step for each method whose time is not known; says what happened."""
    wanted = {plan.spec.method: plan for plan in plans if not plan.done_already and (plan.time is None or not plan.time.exact)}
    for plan in wanted.values():
        plan.require_room()
        spec = plan.spec.model_dump(mode="json")
        studio.jobs.submit_once(MEASURE, {"spec": spec}, title=f"Time some steps of {plan.title.split(', seed')[0]}")
    if not wanted:
        return "The time of these runs is known already."
    return f"{counted(len(wanted), 'method')} will be timed for a few steps each; no run is left by it. The time appears here."


def _rows(plan: RunPlan) -> int:
    rows = plan.spec.optim.batch_size + (plan.spec.optim.alignment_batch_size if plan.spec.harmful else 0)
    return min(rows, plan.spec.optim.micro_batch_size or rows)


def _may_be_packed(plan: RunPlan) -> bool:
    """Whether 4-bit weights are a way: on a CUDA device, and not held as a teacher or aligned weights were made."""
    on_cuda = plan.fit.space is not None and plan.fit.space.device.startswith("cuda")
    return on_cuda and plan.spec.loading.quantization == "none" and not (plan.spec.teacher or plan.spec.aligned)


def _memory(plans: Sequence[RunPlan]) -> dict[str, str]:
    known = [plan.fit for plan in plans if plan.fit.space]
    most = max(known, key=lambda one: one.most, default=None)
    if most is None or most.space is None:
        return {"what": "Memory", "text": "Not known: the model is not on this machine yet.", "kind": "quiet"} if plans else {}
    kind = "no" if any(one.refused for one in known) else "tight" if any(one.warning for one in known) else "ok"
    where = "the CPU" if most.space.device == "cpu" else most.space.device
    text = f"Needs up to {coarse(most.most)} of {coarse(most.space.total)} on {where}, {coarse(most.space.free)} free."
    details = "\n".join(f"{show(plan.title, 60)}: {plan.fit.memory}" for plan in plans if plan.fit.memory)
    return {"what": "Memory", "text": text, "kind": kind, "details": details}


def _host(plans: Sequence[RunPlan]) -> dict[str, str]:
    """The machine's own memory where a GPU computes; one run at a time takes it."""
    most = max((plan.fit.host for plan in plans if plan.fit.host), key=lambda one: one.needed.total, default=None)
    if most is None:
        return {}
    needed, space = most.needed, most.space
    kind = "no" if most.warning else "tight" if needed.total > space.free - _SPARE else "ok"
    parts = f"{coarse(needed.process)} for the process, {coarse(needed.rows)} for rows, {coarse(needed.passing)} while it loads or saves"
    text = f"Beside the GPU up to {coarse(needed.total)} of the machine's own {coarse(space.total)}, {coarse(space.free)} free."
    return {"what": "RAM", "text": text, "kind": kind, "details": f"{parts}. An estimate; weights go through the file cache."}


def _disk(studio: Studio, plans: Sequence[RunPlan]) -> dict[str, str]:
    """One run at a time has checkpoints; adapters and teacher states of all stay."""
    known = [plan.disk for plan in plans if plan.disk is not None]
    if not known:
        return {}
    wanted, free = sum(known), float(shutil.disk_usage(studio.workspace.root).free)
    kind = "no" if wanted > free else "tight" if wanted > free - _SPARE else "ok"
    return {"what": "Disk", "text": f"Writes up to {coarse(wanted)} with checkpoints; {coarse(free)} are free.", "kind": kind}


def _time(plans: Sequence[RunPlan], *, evaluate: bool) -> dict[str, str]:
    """What the time rests on, whether evaluation is in it, and for which runs nothing tells it."""
    times = [plan.time for plan in plans if plan.time]
    if not plans:
        return {}
    if not times:
        return {"what": "Time", "text": "Not known: nothing like it has been trained here.", "kind": "quiet"}
    said = ", ".join(dict.fromkeys(one.source for one in times))
    graded = evaluate and any(plan.suite for plan in plans)
    beside = [one.evaluation for one in times if one.evaluation is not None]
    with_it = (
        f"; {seconds(sum(beside))} of it to load and evaluate, as lately" if len(beside) == len(times) else "; evaluation not counted in"
    )
    told = f"{said}{_before(times)}{with_it if graded else ''}."
    text = told[:1].upper() + told[1:]
    if len(times) < len(plans):
        text = f"For {len(times)} of {len(plans)} runs, {told} {_untimed(plans)}"
        return {"what": "Time", "text": text, "kind": "quiet"}
    return {"what": "Time", "text": text, "kind": "ok" if all(one.exact for one in times) else "tight"}


def _before(times: Sequence[Time]) -> str:
    """What of the time is for trainings before the user's data, or that some are not in it; empty where no run has any."""
    if any(one.stages is None for one in times):
        return "; trainings before the user's data not counted in, none was timed here"
    before = sum(one.stages or 0.0 for one in times)
    return f"; {seconds(before)} of it before the user's data, less where that is made already" if before else ""


def _untimed(plans: Sequence[RunPlan]) -> str:
    """The methods whose time is not known, like `Not known of Vaccine and Booster: …`."""
    names = list(dict.fromkeys(DEFENSES.get(plan.spec.method).info.title for plan in plans if not plan.time))
    listed = names if len(names) <= _NAMED else [*names[: _NAMED - 1], f"{len(names) - _NAMED + 1} more"]
    said = " and ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else listed[0]
    return f"Not known of {said}: nothing like {'it' if len(names) == 1 else 'them'} has been trained here."


def coarse(n: float) -> str:
    """Bytes in gigabytes, the small ones as they are."""
    return f"{n / 1e9:.1f} GB" if n >= 0.05e9 else size(n)
