"""A chart in a card with what belongs to it: its numbers as CSV, its picture as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.widgets import widget

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from reft_studio.comparison.numbers import Numbers


@dataclass(frozen=True)
class ChartBox:
    """The parts; `outputs` in the order in which `chart_value` gives their values."""

    card: gr.Column
    plot: gr.Plot
    files: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        return [self.card, self.plot, self.files]


def chart_box(elem_id: str, *, classes: Sequence[str] = ("rs-card",)) -> ChartBox:
    """An empty chart, hidden until it has a value; the plot has the id `elem_id`, the row of files `elem_id`-files."""
    with gr.Column(visible=False, elem_classes=["rs-chart", *classes], elem_id=f"{elem_id}-card") as card:
        plot = gr.Plot(show_label=False, container=False, elem_id=elem_id)
        files = widget("chart_files", None, scripts=("dom",), elem_id=f"{elem_id}-files", plot=elem_id)
    return ChartBox(card, plot, files)


def chart_value(figure: go.Figure | None, numbers: Numbers, *, name: str) -> list[Any]:
    """Values for `outputs`: the figure on the ground of its card, and its numbers; hidden without a figure. `name` is that of the files."""
    from reft_studio.comparison.numbers import as_csv

    if figure is None:
        return [gr.update(visible=False), gr.update(value=None), None]
    figure.update_layout(paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)")
    return [gr.update(visible=True), gr.update(value=figure), {"name": name, "csv": as_csv(numbers)}]
