"""Sweep: many settings compared by one recipe. Define it, see what it would do, watch it, read what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.events import FAST, SLOW, on, on_change, said
from ui.shared.chart_box import chart_box
from ui.shared.jobs import job_panel
from ui.sweep import result_view as results
from ui.sweep.recipe_panel import RecipePanel, draw_recipe, filled, wire_recipe
from ui.tables import table
from ui.widgets import fixed

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio
    from ui.shared.chart_box import ChartBox

KIND = "sweep"
_RESULT = """<div class="rs-stack"><h2>What it found</h2><p class="rs-lead">A line for each variant and setting, means over seeds with 95 %
intervals. It fills while the runs are done.</p></div>"""
_PAST = """<div class="rs-stack"><h2>Sweeps</h2><p class="rs-lead">Choose one to see its table and to have its recipe above. With more
seeds, methods or shares of poison in it, what was done counts.</p></div>"""
_ASKED = "() => location.search"
EACH = {**SLOW, "show_progress": "hidden", "trigger_mode": "multiple"}


def build(studio: Studio) -> None:
    """Draw the page and wire it."""
    recipe = draw_recipe(studio)
    with gr.Column(elem_classes=["rs-card"], elem_id="sweep-queue"):
        fixed("<h2>Queue</h2>")
        jobs = job_panel(studio, [KIND], elem_id="sweep-jobs", empty="No sweep runs and none waits.")
    with gr.Column(elem_classes=["rs-card"], elem_id="sweep-found"):
        fixed(_RESULT)
        result = results.result_table(studio)
        place = gr.Dropdown([], label="Chart of", elem_id="sweep-place", visible=False, interactive=True)
        chart = chart_box("sweep-chart", classes=())
    with gr.Column(elem_classes=["rs-card"]):
        fixed(_PAST)
        past = table(results.PAST, elem_id="sweep-past", empty="No sweep yet.", pick=True)
    wire_recipe(studio, recipe)
    _wire(studio, recipe, result, past, jobs)
    _wire_chart(studio, result, place, chart)


def _wire(studio: Studio, recipe: RecipePanel, result: gr.HTML, past: gr.HTML, jobs: gr.HTML) -> None:
    page, asked = gr.context.Context.root_block, gr.Textbox(visible=False)
    if page is None:
        raise RuntimeError("the page is built inside of the app")

    def opened(search: str) -> tuple[Any, ...]:
        first = results.first(studio, search)
        return *filled(studio, recipe, results.text_of(studio, first)), results.past_value(studio, first), {"id": first}

    def picked(event: gr.EventData) -> tuple[Any, ...]:
        sweep = str(event.id)
        return *filled(studio, recipe, studio.sweeps.text(sweep)), results.past_value(studio, sweep), {"id": sweep, "show": True}

    def start(text: str) -> tuple[Any, ...]:
        found = studio.sweeps.start(text)
        told = said(results.started(found))
        return *filled(studio, recipe, text)[-2:], results.past_value(studio, found.sweep), {"id": found.sweep}, told

    def listed(shown: dict[str, Any] | None) -> dict[str, Any]:
        return results.past_value(studio, str((shown or {}).get("id") or ""))

    shown: dict[str, Any] = {**SLOW, "show_progress": "hidden"}
    everything = [*recipe.outputs, past, result]
    on(page.load, opened, inputs=[asked], outputs=everything, line=recipe.line, js=_ASKED, **shown)
    on(past.pick, picked, outputs=everything, line=recipe.line, **EACH)
    on(
        recipe.start.click,
        start,
        inputs=[recipe.text],
        outputs=[*recipe.outputs[-2:], past, result],
        line=recipe.line,
        refresh=True,
        **SLOW,
    )
    on_change(listed, inputs=[result], outputs=[past])
    for happened in (jobs.done, jobs.act):
        on(happened, listed, inputs=[result], outputs=[past], **EACH)
        happened(None, None, None, js="() => { window.rs.emit('rs:sweep'); }")


def _wire_chart(studio: Studio, result: gr.HTML, place: gr.Dropdown, chart: ChartBox) -> None:
    drawn = gr.State({})

    def draw(event: gr.EventData, at: str | None) -> tuple[Any, ...]:
        asked = {"id": str(event.id), "words": str(event.words), "dark": bool(event.dark)}
        return asked, *results.chart_values(studio, asked, at)

    def moved(asked: dict[str, Any], at: str | None) -> list[Any]:
        return results.chart_values(studio, asked, at)

    on(result.drawn, draw, inputs=[place], outputs=[drawn, place, *chart.outputs], **EACH)
    on(place.input, moved, inputs=[drawn, place], outputs=[place, *chart.outputs], **FAST)
