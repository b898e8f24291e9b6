"""Train: choose methods and data, see what will run, queue it, watch it learn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.errors import StudioError
from reft_studio.studio.models import JOB
from reft_studio.studio.remedies import SETTINGS
from ui.events import FAST, SLOW, message_for, on, on_change, said, status
from ui.shared import run_fit, run_plan
from ui.shared.jobs import job_panel
from ui.shared.live_run import live_run
from ui.shared.model_shelf import missing_notice, wire_missing
from ui.shared.run_history import draw_run_history, wire_run_history
from ui.train import run_choices
from ui.train.run_form import RunInputs, draw_run_form, helped
from ui.train.run_leaves import draw_leaves, wire_leaves
from ui.train.watch import draw_watch, sources
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio

_JOBS = ("run", "measure", "evaluate", "merge", "demo", "sweep", "score", "teacher", JOB)
_NO_CURVE = "A run that trains is seen here: its losses, its speed, what it answers."
_RUNS = """<div class="rs-stack"><div class="rs-spread"><h2>Runs</h2><a href="/compare">Compare what they do</a></div>
<p class="rs-lead">Every run, finished or not. Choose one to name, tag, annotate or delete it; tick several to see in which settings they
differ.</p></div>"""


@dataclass(frozen=True)
class TrainParts:
    """The components that events touch."""

    inputs: RunInputs
    plan: gr.HTML
    add: gr.Button
    now: gr.Button
    missing: gr.HTML
    line: gr.HTML
    jobs: gr.HTML
    live: gr.HTML
    runs: gr.HTML
    watched: list[Any]
    """Events after which runs are looked at otherwise than before."""


def build(studio: Studio) -> None:
    """Draw the page and wire it."""
    parts = _draw(studio)
    _wire_form(studio, parts)
    _wire_start(studio, parts)
    wire_run_history(studio, parts.runs, live=parts.live, jobs=parts.jobs, no_curve=_NO_CURVE)
    wire_leaves(studio, draw_leaves(), parts.runs, parts.jobs)
    wire_missing(studio, parts.inputs.teacher, parts.missing, parts.jobs, parts.line)


def _draw(studio: Studio) -> TrainParts:
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_classes=["rs-card", "train-queue"]):
            fixed("<h2>Queue</h2>")
            jobs = job_panel(studio, _JOBS, elem_id="train-jobs", empty="Nothing runs and nothing waits.")
        with gr.Column(scale=9, min_width=460, elem_classes=["rs-card"]):
            live = live_run(sources(studio), empty=_NO_CURVE)
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=460):
            inputs = draw_run_form(studio)
        with gr.Column(scale=4, min_width=300, elem_classes=["rs-sticky", "rs-card"]):
            plan = widget("run_plan", run_plan.NOT_READY, scripts=("dom",), elem_id="train-plan")
            with gr.Row():
                now = gr.Button("Run now", variant="primary", elem_id="train-now", min_width=110)
                add = gr.Button("Add to queue", elem_id="train-add", min_width=110)
            watched = draw_watch(studio)
            missing = missing_notice("train-missing")
            line = status("train-status")
    with gr.Column(elem_classes=["rs-card"]):
        fixed(_RUNS)
        runs = draw_run_history(studio)
    return TrainParts(inputs, plan, add, now, missing, line, jobs, live, runs, watched)


def _wire_form(studio: Studio, parts: TrainParts) -> None:
    inputs = parts.inputs

    def plan(*values: Any) -> dict[str, Any]:
        try:
            return run_plan.plan_value(studio, inputs.forms(*values), evaluate=bool(inputs.read(*values)["evaluate"]))
        except Exception as exc:  # told in the plan itself, where the person looks
            return {**run_plan.NOT_READY, "warnings": [{"text": message_for(exc), "kind": "error"}]}

    def edited(*values: Any) -> dict[str, Any]:
        with suppress(StudioError):  # told by the plan
            run_choices.keep(studio, inputs, inputs.read(*values))
        return plan(*values)

    def opened(search: str) -> tuple[Any, ...]:
        return run_choices.opened(studio, inputs, search)

    def preset(*values: Any, by_hand: bool) -> list[Any]:
        return run_choices.of_preset(studio, inputs, inputs.read(*values), by_hand=by_hand)

    def boxes(methods: list[str]) -> list[Any]:
        return run_choices.boxes(inputs, methods)

    page, asked = gr.context.Context.root_block, gr.Textbox(visible=False)
    if page is None:
        raise RuntimeError("the page is built inside of the app")
    ends = [*inputs.components, *inputs.boxes.values(), inputs.grading]
    shown: dict[str, Any] = {**SLOW, "show_progress": "hidden"}
    filled = on(page.load, opened, inputs=[asked], outputs=ends, line=parts.line, js=run_choices.ADDRESS_JS, **shown)
    on(filled.then, plan, inputs=inputs.components, outputs=[parts.plan], **FAST)
    on_change(plan, inputs=inputs.components, outputs=[parts.plan])  # a threshold that was moved elsewhere changes what will run
    _wire_remedies(studio, parts, edited)
    for kept in parts.watched:
        on(kept.then, plan, inputs=inputs.components, outputs=[parts.plan], **FAST)  # the command says it
    for field in (inputs.preset, inputs.teacher):
        fill = partial(preset, by_hand=field is inputs.preset)
        done = on(field.input, fill, inputs=inputs.components, outputs=[inputs.preset, *inputs.preset_fields], **FAST)
        on(done.then, edited, inputs=inputs.components, outputs=[parts.plan], **FAST)
    picked = on(inputs.methods.choose, boxes, inputs=[inputs.methods], outputs=list(inputs.boxes.values()), **FAST)
    on(picked.then, edited, inputs=inputs.components, outputs=[parts.plan], **FAST)
    for field in inputs.components:
        if field not in (inputs.methods, inputs.preset, inputs.teacher):
            on(field.input, edited, inputs=inputs.components, outputs=[parts.plan], **FAST)


def _wire_remedies(studio: Studio, parts: TrainParts, edited: Callable[..., dict[str, Any]]) -> None:
    """The buttons of the plan: each changes the form, and the check is shown again."""
    inputs, changed = parts.inputs, [parts.inputs.fields[name] for name in SETTINGS.values()]

    def help_(event: gr.EventData, *values: Any) -> Any:
        if str(event.act) == run_fit.MEASURE:
            return *(gr.update() for _ in changed), said(run_fit.measure(studio, studio.runs.plan_all(inputs.forms(*values))))
        return *helped(inputs, inputs.read(*values), str(event.act)), said("", "quiet")

    done = on(parts.plan.remedy, help_, inputs=inputs.components, outputs=changed, line=parts.line, refresh=True, **SLOW)
    on(done.then, edited, inputs=inputs.components, outputs=[parts.plan], **FAST)


def _wire_start(studio: Studio, parts: TrainParts) -> None:
    def start(*values: Any, first: bool) -> dict[str, str]:
        evaluate = bool(parts.inputs.read(*values)["evaluate"])
        return said(run_plan.start(studio, parts.inputs.forms(*values), evaluate=evaluate, first=first))

    for button, first in ((parts.add, False), (parts.now, True)):
        on(button.click, partial(start, first=first), inputs=parts.inputs.components, line=parts.line, refresh=True, **SLOW)
