"""Compare: choose runs, see harmful score against accuracy, what differs by more than chance, and on which prompts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.components import compare_view as views
from ui.components.grade_panel import GradePanel, draw_grade_panel, panel_updates, wire_grade_panel
from ui.events import FAST, SLOW, on, status
from ui.widgets import fixed, widget
from ui.widgets.run_table import run_table

if TYPE_CHECKING:
    from reft_studio.studio import Studio

_RUNS = """<div class="rs-stack"><h2>Runs</h2><p class="rs-lead">Runs that answered the same prompts, with the same judge and decoding,
may stand side by side. Every number has a 95 % interval.</p></div>"""
_PAIRED = """<div class="rs-stack"><h2>What differs by more than chance</h2><p class="rs-lead">Every chosen run against one, prompt by
prompt. p is McNemar's exact test, corrected by Holm over the whole table.</p></div>"""
_FLIPS = """<div class="rs-stack"><h2>Which prompts changed</h2><p class="rs-lead">Two runs on the same prompts. A cell of the table shows
the prompts behind it.</p></div>"""
EACH = {"trigger_mode": "multiple", "queue": True, "concurrency_limit": 1}
"""Every choice is handled, in order: repeating only the last one would lose the data that came with the event."""


@dataclass(frozen=True)
class Parts:
    """The components that a choice of runs fills."""

    chosen: gr.State
    notes: gr.HTML
    results: gr.Column
    trade_off: gr.Plot
    verdicts: gr.Plot
    categories: gr.Plot
    sweep: gr.Plot
    baseline: gr.Dropdown
    paired: gr.HTML
    first: gr.Dropdown
    second: gr.Dropdown
    set: gr.Radio
    flips: gr.HTML


def build(studio: Studio) -> None:
    """Draw the page and wire it."""
    with gr.Column(elem_classes=["rs-card"]):
        fixed(_RUNS)
        runs = run_table(lambda asked: views.table_value(studio, asked), mode="many", elem_id="compare-runs")
        line = status("compare-status")
        panel = draw_grade_panel(studio)
    parts = _draw()
    _wire(studio, runs, parts, panel, line)
    wire_grade_panel(studio, panel, parts.chosen)


def _draw() -> Parts:
    chosen = gr.State([])
    notes = widget("notes", [], scripts=("dom",), elem_id="compare-notes")
    with gr.Column(visible=False, elem_id="compare-results") as results:
        trade_off = _chart("compare-trade-off")
        verdicts = _chart("compare-verdicts")
        sweep = _chart("compare-sweep")
        with gr.Column(elem_classes=["rs-card"]):
            fixed(_PAIRED)
            baseline = gr.Dropdown([], label="Compare every chosen run with", elem_id="compare-baseline", interactive=True)
            paired = widget("paired_table", {"rows": []}, scripts=("dom", "marks"), elem_id="compare-paired")
        with gr.Column(elem_classes=["rs-card"]):
            fixed(_FLIPS)
            with gr.Row():
                first = gr.Dropdown([], label="First run", elem_id="flips-first", interactive=True)
                second = gr.Dropdown([], label="Second run", elem_id="flips-second", interactive=True)
                set_name = gr.Radio(list(views.SETS), value="harmful", label="Prompts", elem_id="flips-set")
            flips = widget("flip_list", {"empty": "Choose two runs."}, scripts=("dom", "marks"), elem_id="flips")
        categories = _chart("compare-categories")
    return Parts(chosen, notes, results, trade_off, verdicts, categories, sweep, baseline, paired, first, second, set_name, flips)


def _chart(elem_id: str) -> gr.Plot:
    return gr.Plot(show_label=False, container=False, elem_id=elem_id, elem_classes=["rs-card"])


def _wire(studio: Studio, runs: gr.HTML, parts: Parts, panel: GradePanel, line: gr.HTML) -> None:
    def pick(event: gr.EventData, set_name: str) -> tuple[Any, ...]:
        view = views.comparison(studio, [str(run) for run in event.runs], dark=bool(event.dark))
        first, second = view.usual
        details = views.paired_value(studio, view.chosen, first), views.flips_value(studio, first, second, set_name)
        return (
            view.chosen,
            view.notes,
            gr.update(visible=bool(view.chosen)),
            *view.charts,
            *view.choices(),
            *details,
            *panel_updates(studio, view.chosen, view.titles),
        )

    def paired(chosen: list[str], baseline: str) -> dict[str, Any]:
        return views.paired_value(studio, chosen, baseline)

    def flips(first: str, second: str, set_name: str) -> dict[str, Any]:
        return views.flips_value(studio, first, second, set_name)

    flip_inputs = [parts.first, parts.second, parts.set]
    charts = [parts.trade_off, parts.verdicts, parts.sweep, parts.categories]
    choices = [parts.baseline, parts.first, parts.second]
    picked = [parts.chosen, parts.notes, parts.results, *charts, *choices, parts.paired, parts.flips, panel.table, panel.labelled]
    on(runs.pick, pick, inputs=[parts.set], outputs=picked, line=line, **{**SLOW, **EACH, "show_progress": "hidden"})
    on(parts.baseline.input, paired, inputs=[parts.chosen, parts.baseline], outputs=[parts.paired], line=line, **FAST)
    on(panel.jobs.done, time.time, outputs=[runs], refresh=True, **FAST)
    for choice in flip_inputs:
        on(choice.input, flips, inputs=flip_inputs, outputs=[parts.flips], line=line, **FAST)
