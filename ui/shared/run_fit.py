"""Whether the planned runs fit this machine: memory, disk, time; and what would help, as buttons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reft_studio.defenses import DEFENSES
from reft_studio.studio.remedies import Remedy, remedies, tightness, untimed
from ui.text import counted, seconds, show, size

if TYPE_CHECKING:
    from reft_studio.studio.run_form import RunPlan
    from reft_studio.studio.run_needs import Time
    from reft_studio.studio.studio import Studio

MEASURE = "measure"
_NAMED = 4
"""Methods whose time is not known that are named."""


def checks(studio: Studio, plans: Sequence[RunPlan], *, evaluate: bool) -> list[dict[str, str]]:
    """Memory, disk and time as lines with a kind: ok, tight, no, or quiet where it is not known."""
    fresh = [plan for plan in plans if not plan.done_already]
    return [line for line in (_memory(fresh), _host(fresh), _disk(studio, fresh), _time(fresh, evaluate=evaluate)) if line]


def buttons(plans: Sequence[RunPlan]) -> list[dict[str, str]]:
    """Buttons that change the form so that the runs fit, cheapest first; and one that times steps where nothing tells their time."""
    found: list[tuple[str, str]] = [(remedy.act, _words(remedy)) for remedy in remedies(plans)]
    fresh = [plan for plan in plans if not plan.done_already]
    if untimed(plans) and not any(plan.fit.refused for plan in fresh):
        found.append((MEASURE, "Measure the time"))
    return [{"act": act, "text": text} for act, text in found]


def measure(studio: Studio, plans: Sequence[RunPlan]) -> str:
    """Queue the timing of a step for each method whose time is not known; says what happened."""
    jobs = studio.runs.measure(plans)
    if not jobs:
        return "The time of these runs is known already."
    return f"{counted(len(jobs), 'method')} will be timed for a few steps each; no run is left by it. The time appears here."


def _words(remedy: Remedy) -> str:
    match remedy.act:
        case "micro":
            return f"Micro-batch {remedy.before} → {remedy.after}"
        case "checkpointing":
            return "Gradient checkpointing on"
        case "nf4":
            return "Hold the base in 4 bits"
        case _:
            return f"Length {remedy.before} → {remedy.after} tokens"


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
    kind = "no" if most.warning else "tight" if tightness(needed.total, space.free) != "ok" else "ok"
    parts = f"{coarse(needed.process)} for the process, {coarse(needed.rows)} for rows, {coarse(needed.passing)} while it loads or saves"
    text = f"Beside the GPU up to {coarse(needed.total)} of the machine's own {coarse(space.total)}, {coarse(space.free)} free."
    return {"what": "RAM", "text": text, "kind": kind, "details": f"{parts}. An estimate; weights go through the file cache."}


def _disk(studio: Studio, plans: Sequence[RunPlan]) -> dict[str, str]:
    """One run at a time has checkpoints; adapters and teacher states of all stay."""
    known = [plan.disk for plan in plans if plan.disk is not None]
    if not known:
        return {}
    wanted, free = sum(known), studio.runs.disk_free()
    text = f"Writes up to {coarse(wanted)} with checkpoints; {coarse(free)} are free."
    return {"what": "Disk", "text": text, "kind": tightness(wanted, free)}


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
