"""Compare: harmful score against accuracy of the runs that tell the story, what differs by more than chance, and on which prompts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.comparison.chart_registry import CHARTS
from ui.compare import view as views
from ui.compare.grade_panel import GradePanel, draw_grade_panel, panel_updates, wire_grade_panel
from ui.compare.view import run_table
from ui.events import FAST, SLOW, on, status
from ui.shared import cost_view
from ui.shared.chart_box import ChartBox, chart_box
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio

_RUNS = """<div class="rs-stack"><h2>Runs</h2><p class="rs-lead">Tick the models to compare; the choice is kept for this dataset. Those
that answered the same prompts, with the same judge and decoding, may stand side by side. Every number has a 95 % interval.</p></div>"""
_PAIRED = """<div class="rs-stack"><h2>What differs by more than chance</h2><p class="rs-lead">Every chosen run against one, prompt by
prompt. p is McNemar's exact test, answers to one prompt kept together, corrected by Holm over the whole table.</p></div>"""
_SETTINGS = """<div class="rs-stack"><h2>In which settings they differ</h2><p class="rs-lead">What is not the same in the chosen runs, in
the order in which it tells runs apart. Every setting that is not listed is the same.</p></div>"""
_FLIPS = """<div class="rs-stack"><h2>Which prompts changed</h2><p class="rs-lead">Two runs on the same prompts. A cell of the table shows
the prompts behind it.</p></div>"""
_COSTS = f"<p class='rs-small rs-muted'>{cost_view.BESIDE}</p>"
EACH = {"trigger_mode": "multiple", "queue": True, "concurrency_limit": 1}
"""Every choice is handled, in order: repeating only the last one would lose the data that came with the event."""


@dataclass(frozen=True)
class First:
    """What stands above the table of runs: the card with headline and chart, and the card with what the numbers rest on."""

    chosen: gr.State
    card: gr.Column
    story: gr.HTML
    trade_off: ChartBox
    rests: gr.Column
    facts: gr.HTML
    notes: gr.HTML

    def outputs(self) -> list[Any]:
        return [self.chosen, self.card, self.story, self.rests, self.facts, self.notes]


@dataclass(frozen=True)
class CompareParts:
    """The components that a choice of runs fills; `charts` in the order of the page's view."""

    top: First
    results: gr.Column
    charts: list[ChartBox]
    costs: list[gr.HTML]
    baseline: gr.Dropdown
    paired: gr.HTML
    settings: gr.HTML
    first: gr.Dropdown
    second: gr.Dropdown
    set: gr.Radio
    flips: gr.HTML

    def outputs(self) -> list[Any]:
        drawn = [part for chart in self.charts for part in chart.outputs]
        below = [self.baseline, self.first, self.second, self.paired, self.flips, self.settings]
        return [*self.top.outputs(), self.results, *drawn, *self.costs, *below]


def build(studio: Studio) -> None:
    """Draw the page and wire it: the story and its chart first, then the runs to choose from, then the rest."""
    chosen = gr.State([])
    with gr.Column(elem_classes=["rs-card"], visible=False, elem_id="compare-first") as first:
        story = widget("compare_story", {}, scripts=("dom",), elem_id="compare-story")
        trade_off = chart_box("compare-trade-off", classes=())
    with gr.Column(elem_classes=["rs-card"], visible=False, elem_id="compare-rests") as rests:
        facts = widget("compare_facts", [], scripts=("dom",), elem_id="compare-facts")
        notes = widget("notes", [], scripts=("dom",), elem_id="compare-notes")
    with gr.Column(elem_classes=["rs-card"]):
        fixed(_RUNS)
        runs = run_table(lambda asked: views.table_value(studio, asked), elem_id="compare-runs")
        line = status("compare-status")
        panel = draw_grade_panel(studio)
    parts = _draw(First(chosen, first, story, trade_off, rests, facts, notes))
    _wire(studio, runs, parts, panel, line)
    wire_grade_panel(studio, panel, parts.top.chosen)


def _draw(top: First) -> CompareParts:
    with gr.Column(visible=False, elem_id="compare-results") as results:
        boxes = {name: chart_box(f"compare-{name}") for name in CHARTS if name not in ("trade_off", "costs")}
        with gr.Column(elem_classes=["rs-card"], elem_id="compare-cost"):
            boxes["costs"] = chart_box("compare-costs", classes=())
            costs = [cost_view.cost_table("compare-cost-table"), widget("notes", [], scripts=("dom",), elem_id="compare-cost-notes")]
            fixed(_COSTS)
        with gr.Column(elem_classes=["rs-card"]):
            fixed(_PAIRED)
            baseline = gr.Dropdown([], label="Compare every chosen run with", elem_id="compare-baseline", interactive=True)
            paired = widget("paired_table", {"rows": []}, scripts=("dom", "marks"), elem_id="compare-paired")
        with gr.Column(elem_classes=["rs-card"]):
            fixed(_SETTINGS)
            parts = ("dom", "marks", "setting_rows")
            settings = widget("setting_table", scripts=parts, styles=("setting_rows",), value={}, elem_id="compare-settings")
        with gr.Column(elem_classes=["rs-card"]):
            fixed(_FLIPS)
            with gr.Row():
                first = gr.Dropdown([], label="First run", elem_id="flips-first", interactive=True)
                second = gr.Dropdown([], label="Second run", elem_id="flips-second", interactive=True)
                set_name = gr.Radio(list(views.SETS), value="harmful", label="Prompts", elem_id="flips-set")
            flips = widget("flip_list", {"empty": "Choose two runs."}, scripts=("dom", "marks"), elem_id="flips")
    charts = [{"trade_off": top.trade_off, **boxes}[name] for name in CHARTS]
    return CompareParts(top, results, charts, costs, baseline, paired, settings, first, second, set_name, flips)


def _wire(studio: Studio, runs: gr.HTML, parts: CompareParts, panel: GradePanel, line: gr.HTML) -> None:
    drawn = gr.State("")  # the dataset whose runs the page opened on: another tab may have chosen another since

    def below(chosen: list[str], first: str | None, second: str | None, set_name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        return views.flips_value(studio, first, second, set_name), views.settings_of(studio, chosen, pair=(first, second))

    def pick(event: gr.EventData, set_name: str, dataset: str) -> tuple[Any, ...]:
        asked = [str(run) for run in event.runs]
        if event.by_hand:
            studio.comparison.remember(dataset, asked)
        else:
            dataset = studio.comparison.dataset()
        view = views.comparison(studio, asked, dark=bool(event.dark))
        first, second = view.usual
        details = views.paired_value(studio, view.chosen, first), *below(view.chosen, first, second, set_name)
        shown, rests = gr.update(visible=bool(view.chosen)), gr.update(visible=bool(view.chosen or view.notes))
        words = view.chosen, shown, view.story, rests, view.facts, view.notes, shown
        return *words, *view.charts, *view.costs, *view.choices(), *details, *panel_updates(studio, view.chosen, view.titles), dataset

    def usual(dataset: str) -> dict[str, float]:
        studio.comparison.remember(dataset, [])
        return {"anew": time.time()}

    def paired(chosen: list[str], baseline: str) -> dict[str, Any]:
        return views.paired_value(studio, chosen, baseline)

    flip_inputs = [parts.top.chosen, parts.first, parts.second, parts.set]
    picked = [*parts.outputs(), panel.table, panel.labelled, drawn]
    on(runs.pick, pick, inputs=[parts.set, drawn], outputs=picked, line=line, **{**SLOW, **EACH, "show_progress": "hidden"})
    on(parts.top.story.usual, usual, inputs=[drawn], outputs=[runs], **FAST)
    on(parts.baseline.input, paired, inputs=[parts.top.chosen, parts.baseline], outputs=[parts.paired], line=line, **FAST)
    on(panel.jobs.done, time.time, outputs=[runs], refresh=True, **FAST)
    for choice in flip_inputs[1:]:
        on(choice.input, below, inputs=flip_inputs, outputs=[parts.flips, parts.settings], line=line, **FAST)
