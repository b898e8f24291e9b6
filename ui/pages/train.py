"""Train: choose methods and data, see what will run, queue it, watch it learn."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.models.spec import usual_preset
from reft_studio.views.shelf import JOB
from ui.components import run_plan
from ui.components.jobs import job_panel
from ui.components.live_run import sources
from ui.components.model_shelf import missing_notice, wire_missing
from ui.components.run_form import CUSTOM, RunInputs, base_of, dataset_choices, draw_run_form, scorer_choices, teacher_choices
from ui.components.run_rows import finished_run
from ui.events import FAST, SLOW, message_for, on, on_change, on_load, said, status
from ui.widgets import fixed, widget
from ui.widgets.live_run import live_run
from ui.widgets.run_table import run_table

if TYPE_CHECKING:
    from reft_studio.studio import Studio

_JOBS = ("run", "evaluate", "demo", "score", "teacher", JOB)
_NO_RUN = {
    "title": "No run yet",
    "text": "Choose methods above and press “Run now”. Finished runs stay here.",
    "action": "",
    "href": "/train",
}
_NO_CURVE = "A run that trains is seen here: its losses, its speed, what it answers."


@dataclass(frozen=True)
class Parts:
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


def build(studio: Studio) -> None:
    """Draw the page and wire it."""
    parts = _draw(studio)
    _wire_form(studio, parts)
    _wire_start(studio, parts)
    _wire_runs(parts)
    wire_missing(studio, parts.inputs.teacher, parts.missing, parts.jobs, parts.line)


def _draw(studio: Studio) -> Parts:
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
            missing = missing_notice("train-missing")
            line = status("train-status")
    with gr.Column(elem_classes=["rs-card"]):
        fixed('<div class="rs-spread"><h2>Finished runs</h2><a href="/compare">Compare them</a></div>')
        runs = run_table(lambda asked: runs_value(studio, asked), mode="one", elem_id="train-runs")
    return Parts(inputs, plan, add, now, missing, line, jobs, live, runs)


def runs_value(studio: Studio, asked: list[str]) -> dict[str, Any]:
    """Finished runs, newest first."""
    return {"rows": [finished_run(run) for run in studio.runs()], "chosen": asked[:1], "empty": _NO_RUN}


def _wire_form(studio: Studio, parts: Parts) -> None:
    inputs = parts.inputs

    def plan(*values: Any) -> dict[str, Any]:
        try:
            return run_plan.plan_value(studio, inputs.forms(*values))
        except Exception as exc:  # told in the plan itself, where the person looks
            return {**run_plan.NOT_READY, "warnings": [{"text": message_for(exc), "kind": "error"}]}

    def fill() -> tuple[Any, ...]:
        data, teachers, state = dataset_choices(studio), teacher_choices(studio), studio.state()
        chosen = state.dataset
        known = [value for _, value in data]
        dataset = chosen.id if chosen and chosen.id in known else next(iter(known), None)
        scored_by = state.score.teacher if state.score else None  # the one whose flags a person has seen
        ids = [value for _, value in teachers]
        teacher = scored_by if scored_by in ids else next(iter(ids), None)
        judge = inputs.judge.updates(studio.grading.judge(), studio)
        scorers = gr.update(choices=scorer_choices(studio))
        return gr.update(choices=data, value=dataset), gr.update(choices=teachers, value=teacher), scorers, *judge

    def preset(name: str, teacher: str | None) -> tuple[Any, ...]:
        named = studio.presets().get(usual_preset(base_of(studio, teacher)) if name == "auto" else name)  # none of one's own
        filled = inputs.optim.updates(named.optim) if named else [gr.update() for _ in inputs.optim.components]
        return gr.update(visible=name == CUSTOM), *filled

    def boxes(methods: list[str]) -> list[Any]:
        return [gr.update(visible=method in methods) for method in inputs.boxes]

    on_change(plan, inputs=inputs.components, outputs=[parts.plan])  # a threshold that was moved elsewhere changes what will run
    filled = on_load(fill, outputs=[inputs.dataset, inputs.teacher, inputs.scorer, *inputs.judge.components])
    on(filled.then, plan, inputs=inputs.components, outputs=[parts.plan], **FAST)
    shown = on(
        inputs.preset.input, preset, inputs=[inputs.preset, inputs.teacher], outputs=[inputs.custom, *inputs.optim.components], **FAST
    )
    on(shown.then, plan, inputs=inputs.components, outputs=[parts.plan], **FAST)
    picked = on(inputs.methods.choose, boxes, inputs=[inputs.methods], outputs=list(inputs.boxes.values()), **FAST)
    on(picked.then, plan, inputs=inputs.components, outputs=[parts.plan], **FAST)
    for field in inputs.components:
        if field not in (inputs.methods, inputs.preset):
            on(field.input, plan, inputs=inputs.components, outputs=[parts.plan], **FAST)


def _wire_start(studio: Studio, parts: Parts) -> None:
    def queue(*values: Any) -> dict[str, str]:
        return said(run_plan.start(studio, parts.inputs.forms(*values), evaluate=bool(values[6]), first=False))

    def now(*values: Any) -> dict[str, str]:
        return said(run_plan.start(studio, parts.inputs.forms(*values), evaluate=bool(values[6]), first=True))

    for button, handler in ((parts.add, queue), (parts.now, now)):
        on(button.click, handler, inputs=parts.inputs.components, line=parts.line, refresh=True, **SLOW)


def _wire_runs(parts: Parts) -> None:
    def pick(event: gr.EventData) -> dict[str, Any]:
        return {"run": str(event.runs[0]), "empty": _NO_CURVE}

    on(parts.runs.pick, pick, outputs=[parts.live], **{**FAST, "trigger_mode": "multiple"})
    on(parts.jobs.done, time.time, outputs=[parts.runs], refresh=True, **FAST)
