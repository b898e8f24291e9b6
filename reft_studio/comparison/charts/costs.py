"""Costs of runs: time by stage, and peak memory."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reft_studio.comparison.charts.chart import Chart
from reft_studio.comparison.charts.style import finish, label, message, theme
from reft_studio.comparison.costs import GROUPS, RunCost
from reft_studio.comparison.numbers import of_costs

_STYLES = {
    "Load": ("#999999", "", "circle"),
    "Filter and prepare": ("#E69F00", "/", "square"),
    "Train": ("#0072B2", "", "diamond"),
    "Answers to learn from": ("#009E73", "\\", "triangle-up"),
    "Checks during training": ("#56B4E9", ".", "cross"),
    "Evaluate": ("#CC79A7", "x", "x"),
}
"""Colour, pattern and symbol of each group of stages."""
_LONG = 180.0
"""From this many seconds on, the axis is in minutes."""


def cost_bars(costs: Sequence[RunCost], *, dark: bool = False) -> go.Figure:
    """A stacked bar per run of its time by stage; and the peak memory of the stages where it was measured."""
    known = [cost for cost in costs if cost.ledger is not None]
    if not known:
        return message("No run here kept a ledger of what it cost. Runs of this version do.", dark=dark)
    names = _unique([cost.title for cost in known])
    longest = max(cost.ledger.seconds for cost in known if cost.ledger)
    unit, per = ("minutes", 60.0) if longest >= _LONG else ("seconds", 1.0)
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.05, column_widths=[0.62, 0.38])
    shown = [group for group in GROUPS if any(cost.seconds(group) >= 0.005 * longest or cost.peak(group) for cost in known)]
    for group in shown:
        _bars(figure, known, names, group, unit, per, dark=dark)
        _peaks(figure, known, names, group, dark=dark)
    figure.update_layout(barmode="stack", bargap=0.36)
    figure.update_xaxes(rangemode="tozero", title_text=f"← shorter   Time ({unit})", row=1, col=1)
    figure.update_xaxes(rangemode="tozero", title_text="← less   Peak memory (MB)", row=1, col=2)
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    devices = list(dict.fromkeys(cost.ledger.device for cost in known if cost.ledger))
    memory = "of the whole process" if devices == ["CPU"] else "of tensors on the GPU; of the whole process on a CPU"
    subtitle = f"On {', '.join(map(label, devices))} · one run each, as the clock saw it · memory {memory}"
    return finish(figure, dark=dark, title="What the runs cost", subtitle=subtitle, height=70 + 34 * len(known), legend=shown)


def _bars(figure: go.Figure, costs: Sequence[RunCost], names: Sequence[str], group: str, unit: str, per: float, *, dark: bool) -> None:
    colours, (colour, pattern, _) = theme(dark=dark), _STYLES[group]
    texture = {"shape": pattern, "fillmode": "overlay", "fgcolor": colours.card, "fgopacity": 0.35, "size": 6, "solidity": 0.2}
    figure.add_trace(
        go.Bar(
            y=list(names),
            x=[cost.seconds(group) / per for cost in costs],
            orientation="h",
            name=group,
            legendgroup=group,
            marker={"color": colours.colour(colour), "line": {"width": 1, "color": colours.card}, "pattern": texture},
            hovertemplate=f"<b>%{{y}}</b> {group}<br>%{{x:.3g}} {unit}<extra></extra>",
        ),
        row=1,
        col=1,
    )


def _peaks(figure: go.Figure, costs: Sequence[RunCost], names: Sequence[str], group: str, *, dark: bool) -> None:
    colours, (colour, _, symbol) = theme(dark=dark), _STYLES[group]
    peaks = [(name, peak) for cost, name in zip(costs, names, strict=True) if (peak := cost.peak(group)) is not None]
    figure.add_trace(
        go.Scatter(
            y=[name for name, _ in peaks],
            x=[peak for _, peak in peaks],
            mode="markers",
            name=group,
            legendgroup=group,
            showlegend=False,
            marker={"size": 10, "symbol": symbol, "color": colours.colour(colour), "line": {"width": 1, "color": colours.card}},
            hovertemplate=f"<b>%{{y}}</b> {group}<br>%{{x:,}} MB at most<extra></extra>",
        ),
        row=1,
        col=2,
    )


def _unique(titles: Sequence[str]) -> list[str]:
    """Distinct labels, since equal ones would share a bar."""
    shown = [label(title) for title in titles]
    return [name if shown.count(name) == 1 else f"{name} ({shown[: i + 1].count(name)})" for i, name in enumerate(shown)]


CHART = Chart(
    files="what-the-runs-cost",
    summary="Time by stage, and peak memory, of each run.",
    chosen=lambda compared: [cost for cost in compared.costs if cost.ledger],
    draw=cost_bars,
    numbers=of_costs,
)
