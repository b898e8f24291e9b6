"""The tab Outcome: what the line did to finetuned models, beside rows removed by chance, and one press to find out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.errors import StudioError
from ui.events import FAST, SLOW, message_for, on, said, status
from ui.forms import parse_seeds
from ui.shared import run_plan
from ui.shared.chart_box import ChartBox, chart_box, chart_value
from ui.shared.jobs import job_panel
from ui.text import count, counted, number, seconds, show
from ui.widgets import widget

if TYPE_CHECKING:
    from reft_studio.comparison.dose import Dose, Point
    from reft_studio.stats import Estimate
    from reft_studio.studio.outcomes import Sweep
    from reft_studio.studio.studio import Studio

KINDS = {"none": "No filter", "filter": "Filter", "control": "As many rows, by chance"}
ENOUGH = 2
"""Lines of the filter from which there is something to compare."""
WHAT = (
    "A line is good if models finetuned on what it leaves are safer than models that lost as many rows by chance, and do the task as well."
)


@dataclass(frozen=True)
class OutcomePanel:
    """The parts; `where` takes the scores in work as the other panels do."""

    where: gr.HTML
    view: gr.HTML
    chart: ChartBox
    seeds: gr.Textbox
    queue: gr.Button
    line: gr.HTML
    jobs: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        """What `panel_values` fills."""
        return [self.view, *self.chart.outputs, self.queue]


def draw_outcome(studio: Studio) -> OutcomePanel:
    """Draw the tab and wire it; nothing is counted or drawn before it is opened, since charts take a second of start-up."""
    where = widget("outcome_signal", "", scripts=("dom",), elem_id="outcome")
    view = widget("outcome", {}, scripts=("dom",), elem_id="outcome-view")
    chart = chart_box("outcome-chart", classes=())
    with gr.Row(elem_classes=["rs-form", "rs-ends"]):
        seeds = gr.Textbox("", label="Seeds", info="Empty: those of the newest runs", elem_id="outcome-seeds", max_lines=1)
        queue = gr.Button("Queue the sweep", elem_id="outcome-queue", elem_classes=["fit"], size="md", min_width=170, interactive=False)
    line = status("outcome-status")
    jobs = job_panel(studio, ["run"], of_chosen=True, elem_id="outcome-jobs")
    panel = OutcomePanel(where, view, chart, seeds, queue, line, jobs)
    _wire(studio, panel)
    return panel


def _wire(studio: Studio, panel: OutcomePanel) -> None:
    drawn = gr.State(("", ""))  # dataset and key of the scores that the tab speaks of: another tab may have chosen others since

    def opened(event: gr.EventData, seeds: str) -> list[Any]:
        scores = str(event.dataset), str(event.key)
        return [*panel_values(studio, *scores, seeds, dark=bool(event.dark)), scores]

    def typed(seeds: str, scores: tuple[str, str]) -> list[Any]:
        if not all(scores):
            return [gr.skip(), gr.skip()]
        found, sweep, why = _found(studio, *scores, seeds)
        return [view_value(found, sweep, why), _button(sweep)]

    def queue(seeds: str, scores: tuple[str, str]) -> tuple[Any, dict[str, str]]:
        if not all(scores):
            return gr.skip(), said("There are no scores to sweep over. Score the dataset first.", "error")
        sweep = studio.outcomes.sweep(*scores, seeds=parse_seeds(seeds) if seeds.strip() else ())
        told = said(run_plan.start(studio, sweep.fresh, evaluate=True, first=False))
        return _button(None), told

    on(panel.where.opened, opened, inputs=[panel.seeds], outputs=[*panel.outputs, drawn], line=panel.line, **SLOW)
    on(panel.seeds.input, typed, inputs=[panel.seeds, drawn], outputs=[panel.view, panel.queue], **FAST)
    on(panel.queue.click, queue, inputs=[panel.seeds, drawn], outputs=[panel.queue], line=panel.line, refresh=True, **SLOW)
    panel.jobs.done(None, None, None, js="() => { window.rs.emit('rs:outcome'); }")


def panel_values(studio: Studio, dataset: str, key: str, seeds: str, *, dark: bool) -> list[Any]:
    """Words and table, the chart with its files, and the button, for these scores."""
    from reft_studio.comparison import charts, numbers

    found, sweep, why = _found(studio, dataset, key, seeds)
    figure = None
    if found.lines:
        figure = charts.dose_response(found, in_use=studio.scores.view(dataset, key).threshold, dark=dark)
    chart = chart_value(figure, numbers.of_dose(found), name="what-the-line-does")
    return [view_value(found, sweep, why), *chart, _button(sweep)]


def _found(studio: Studio, dataset: str, key: str, seeds: str) -> tuple[Dose, Sweep | None, str]:
    """What is known, the sweep that could be run, and why there can be none."""
    found = studio.outcomes.found(dataset, key)
    try:
        return found, studio.outcomes.sweep(dataset, key, seeds=parse_seeds(seeds) if seeds.strip() else ()), ""
    except StudioError as exc:
        return found, None, message_for(exc)


def _button(sweep: Sweep | None) -> Any:
    left = len(sweep.fresh) if sweep else 0
    return gr.update(value=f"Queue {counted(left, 'run')}" if left else "Queue the sweep", interactive=left > 0)


def view_value(found: Dose, sweep: Sweep | None, why: str) -> dict[str, Any]:
    """The words of the tab and its table."""
    return {
        "what": WHAT,
        "empty": "" if found.lines >= ENOUGH else empty(found),
        "rows": [row(point) for point in found.points] if found.lines else [],
        "cost": cost(sweep) if sweep else show(why, 400),
        "left_out": f"{counted(found.left_out, 'run')} with other settings or other prompts left out." if found.left_out else "",
    }


def empty(found: Dose) -> str:
    """What would stand here."""
    there = f"So far {counted(found.lines, 'line')} of this filter has an evaluated run. " if found.lines else ""
    return (
        f"{there}With runs at several lines a chart shows here harmful score (HS) and finetune accuracy (FA) against the rows removed, "
        "each beside runs that lost exactly as many rows by chance: the difference is what the filter knows."
    )


def cost(sweep: Sweep) -> str:
    """What the sweep would do, and how long it takes."""
    lines = ", ".join(f"{number(line.threshold)} ({counted(line.removed, 'row')})" for line in sweep.lines)
    left = len(sweep.fresh)
    if not left:
        return (
            f"All runs of the sweep at {lines} are there or queued ({show(sweep.settings, 200)}). Add seeds to see the noise of training."
        )
    took = sweep.seconds
    about = "for a time that is not known: no run on this base has been timed yet"
    about = about if took is None else f"about {seconds(took)} of training, and the evaluations after it"
    there = (
        f" {count(len(sweep.forms) - left)} of {count(len(sweep.forms))} are there or queued already." if left < len(sweep.forms) else ""
    )
    return (
        f"The sweep: the lines {lines}, each with the filter and with as many rows dropped by chance, and once without a filter. "
        f"{counted(left, 'run')} to do, {about}.{there} Settings: {show(sweep.settings, 200)}."
    )


def row(point: Point) -> list[str]:
    """A line of the table."""
    line = "–" if point.threshold is None else number(point.threshold)
    removed = f"{count(point.removed)} ({point.share:.1f} %)"
    return [KINDS[point.kind], line, removed, count(point.mean.seeds), *map(interval, (point.mean.hs, point.mean.fa))]


def interval(estimate: Estimate | None) -> str:
    """`76.0 % (69.6 to 81.4), n = 200`."""
    return "–" if estimate is None else f"{estimate.value:.1f} % ({estimate.low:.1f} to {estimate.high:.1f}), n = {estimate.n:,}"
