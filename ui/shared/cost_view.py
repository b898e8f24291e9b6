"""What runs cost, as tables and sentences: of one run by stage, of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.tables import Column, table, table_value
from ui.text import count, seconds, show

if TYPE_CHECKING:
    from reft_studio.studio.comparison import RunCost
    from reft_studio.training.ledger import Ledger

LEAST_S = 0.05
"""A stage that took less did nothing."""
BESIDE = (
    "× is how many times the work of plain finetuning on the user rows of the same steps: counted by the operations of student and teacher "
    "in the run itself, timed beside a plain SFT run of the same data, base, steps and settings. Own work is filter, preparation and "
    "training. Passes are those of a step: student forward + student back + forward without a gradient, as of a teacher or the "
    "start weights."
)
_SIDE_BY_SIDE = (
    Column("run", "Run"),
    Column("counted", "× counted", "num"),
    Column("timed", "× timed", "num"),
    Column("all", "All", "num"),
    Column("training", "Own work", "num"),
    Column("evaluation", "Evaluate", "num"),
    Column("memory", "Peak", "num"),
    Column("flops", "TFLOP", "num"),
    Column("passes", "Passes", "num"),
)
_STAGES = (Column("stage", "Stage"), Column("time", "Time", "num"), Column("memory", "Peak memory", "num"))


def cost_table(elem_id: str) -> gr.HTML:
    """A table of runs side by side; give it `side_by_side(…)`."""
    return table(_SIDE_BY_SIDE, elem_id=elem_id, empty="No chosen run kept a ledger of what it cost.", waits=False)


def stage_table(elem_id: str) -> gr.HTML:
    """A table of the stages of one run; give it `stages(…)`."""
    return table(_STAGES, elem_id=elem_id, empty="This run was made by a version that kept no ledger of what it cost.", waits=False)


def side_by_side(costs: Sequence[RunCost]) -> dict[str, Any]:
    """A line for each run with a ledger."""
    from reft_studio.training.ledger import OF_TRAINING

    rows = []
    for cost in costs:
        if (ledger := cost.ledger) is not None:
            rows.append(
                {
                    "id": cost.run,
                    "run": cost.title,
                    "all": seconds(ledger.seconds),
                    "training": seconds(ledger.time_of(*OF_TRAINING)),
                    "evaluation": seconds(cost.seconds("Evaluate")) if cost.seconds("Evaluate") else None,
                    "memory": megabytes(ledger.memory_mb),
                    "passes": " + ".join(f"{ledger.per_step(kind):.3g}" for kind in ("forward", "backward", "teacher")),
                    "flops": operations(ledger),
                    "counted": times(cost.extra.flops or cost.extra.tokens),
                    "timed": times(cost.timed.ratio if cost.timed else None),
                }
            )
    return table_value(rows)


def stages(ledger: Ledger | None) -> dict[str, Any]:
    """The stages of one run; a stage inside another has no peak of its own."""
    told = [] if ledger is None else [one for one in ledger.stages if one.seconds >= LEAST_S]
    rows = [{"id": one.name, "stage": one.title, "time": seconds(one.seconds), "memory": megabytes(one.memory_mb)} for one in told]
    return table_value(rows)


def figures(cost: RunCost) -> dict[str, Any]:
    """The sums of one run, as large numbers; nothing without a ledger."""
    ledger = cost.ledger
    if ledger is None:
        return {}
    peak = megabytes(ledger.memory_mb) or "not measured"
    found = [
        (seconds(ledger.seconds), f"in all, on {show(ledger.device, 40)}", "load, training and evaluation"),
        (
            peak,
            "peak GPU memory" if ledger.on_gpu else "peak memory of the process",
            f"{show(ledger.memory_words, 60)}; the highest of all stages",
        ),
    ]
    if flops := operations(ledger):
        found.append((f"{flops} TFLOP", "operations in training", f"reckoned from {ledger.counted_steps} counted steps"))
    if counted := times(cost.extra.flops or cost.extra.tokens):
        found.append((counted, "plain finetuning, by operations", f"on the same user rows, as this run counted: {cost.extra.words}"))
    return {"kpis": [{"value": value, "label": label, "hint": hint} for value, label, hint in found]}


def sentences(cost: RunCost) -> list[dict[str, str]]:
    """What the run took beside plain finetuning by the clock, and what is not known."""
    from reft_studio.studio.comparison import cost_reasons

    told = [f"By the clock: {cost.timed.words}. One run each."] if cost.timed else []
    told += [f"Passes in a step: {passes(cost.ledger)}."] if cost.ledger else []
    shared = [f"{one.title} were trained before it in {seconds(one.seconds)}, once for all runs that share them." for one in _before(cost)]
    return [{"text": show(text, 500), "kind": "quiet"} for text in [*told, *shared, *cost_reasons([cost])]]


def passes(ledger: Ledger) -> str:
    """`1 forward and 1.05 back of the student, 0.4 forward without a gradient (the teacher's or the start weights')`."""
    forward, back, rest = (ledger.per_step(kind) for kind in ("forward", "backward", "teacher"))
    student = f"{forward:.3g} forward and {back:.3g} back of the student"
    return student + (f", {rest:.3g} forward without a gradient (the teacher's or the start weights')" if rest else "")


def operations(ledger: Ledger) -> str:
    """TFLOP of the training; empty where they were not counted."""
    return f"{ledger.operations / 1e12:,.3g}" if ledger.operations else ""


def times(ratio: float | None) -> str:
    """`1.84 ×`; empty for None."""
    return "" if ratio is None else f"{ratio:.2f} ×"


def megabytes(size: int | None) -> str | None:
    """`704 MB`, `12.3 GB`."""
    return None if size is None else f"{count(size)} MB" if size < 10_000 else f"{size / 1000:.1f} GB"


def _before(cost: RunCost) -> Sequence[Any]:
    return () if cost.ledger is None else cost.ledger.before
