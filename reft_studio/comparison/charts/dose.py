"""HS and FA against the share of rows that the filter's threshold removes, with a control of as many random rows."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reft_studio.comparison.charts.style import ChartMark, bars, estimate_words, finish, label, mark, message, rgba, theme
from reft_studio.comparison.dose import Dose, Point
from reft_studio.comparison.table import Metric
from reft_studio.stats import Estimate

NAMES = {"filter": "Filter", "control": "As many rows, by chance"}
_PANELS: tuple[tuple[Metric, str], ...] = (("hs", "Harmful score (%)   ↓ better"), ("fa", "Finetune accuracy (%)   ↑ better"))


def dose_response(dose: Dose, *, in_use: float | None = None, dark: bool = False) -> go.Figure:
    """A panel for HS and one for FA; both lines start at the runs without a filter. `in_use` is the threshold to mark."""
    if not any(point.kind != "none" for point in dose.points):
        return message("No run with this filter has been evaluated yet.", dark=dark)
    figure = make_subplots(1, 2, horizontal_spacing=0.08, subplot_titles=[title for _, title in _PANELS])
    styles = {"filter": mark("filter_only", dark=dark), "control": ChartMark(theme(dark=dark).muted, "circle-open", "dot")}
    for kind, style in styles.items():
        line = [point for point in dose.points if point.kind == kind]
        if not line:
            continue
        start = [point for point in dose.points if point.kind == "none"][:1]
        for column, (metric, _) in enumerate(_PANELS, start=1):
            _line(figure, [*start, *line], metric, column, NAMES[kind], style, named=column == 1)
    _mark_line(figure, dose, in_use, dark=dark)
    most = max(point.share for point in dose.points)
    figure.update_xaxes(title_text="Rows removed (%)", range=(-0.04 * most, 1.18 * most))
    figure.update_yaxes(range=(-3, 103))
    figure.update_annotations(font={"size": 12.5})
    means = [point.mean for point in dose.points]
    seeds = sorted({mean.seeds for mean in means})
    n = next((mean.hs.n for mean in means if mean.hs), 0)
    words = "one seed each: training noise unknown" if seeds == [1] else f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else ""
    return finish(
        figure,
        dark=dark,
        title="What the line does to finetuned models",
        subtitle=" · ".join(
            part
            for part in (
                f"n = {n} harmful prompts per point",
                f"judge {label(dose.judge)}",
                "bars: 95 % intervals",
                words or f"means over {seeds[0]} seeds",
            )
            if part
        ),
        height=300,
        legend=list(NAMES.values()),
    )


def _line(figure: go.Figure, points: Sequence[Point], metric: Metric, column: int, name: str, style: ChartMark, *, named: bool) -> None:
    known = [(point, estimate) for point in points if (estimate := point.mean.metric(metric))]
    estimates = [estimate for _, estimate in known]
    figure.add_trace(
        go.Scatter(
            x=[point.share for point, _ in known],
            y=[estimate.value for estimate in estimates],
            mode="lines+markers",
            name=name,
            legendgroup=name,
            showlegend=named,
            line={"color": style.colour, "dash": style.dash, "width": 2},
            marker={"color": style.colour, "symbol": style.symbol, "size": 10, "line": {"width": 1.5, "color": style.colour}},
            error_y=bars([e.low for e in estimates], [e.value for e in estimates], [e.high for e in estimates], rgba(style.colour, 0.6)),
            text=[_hover(point, estimate) for point, estimate in known],
            hovertemplate=f"<b>{name}</b><br>%{{text}}<extra></extra>",
        ),
        row=1,
        col=column,
    )


def _hover(point: Point, estimate: Estimate) -> str:
    line = "no filter" if point.kind == "none" else f"line {point.threshold:+.3f}" if point.threshold is not None else "drawn by chance"
    seeds = "1 seed" if point.mean.seeds == 1 else f"{point.mean.seeds} seeds"
    return f"{line}: {point.removed:,} of {point.rows:,} rows removed<br>{estimate_words(estimate)}, {seeds}"


def _mark_line(figure: go.Figure, dose: Dose, in_use: float | None, *, dark: bool) -> None:
    """The threshold of each point of the filter at the upper edge; the one in use as a vertical line."""
    colours = theme(dark=dark)
    for point in dose.points:
        if point.threshold is None:
            continue
        used = in_use is not None and abs(point.threshold - in_use) < 5e-4
        for column in (1, 2):
            if used:
                figure.add_vline(x=point.share, line={"color": colours.zero, "width": 1, "dash": "dash"}, row=1, col=column)
            figure.add_annotation(
                x=point.share,
                y=103,
                yanchor="top",
                text=f"{point.threshold:+.2f}{' (in use)' if used else ''}",
                showarrow=False,
                xanchor="left",
                xshift=4,
                font={"size": 11, "color": colours.muted},
                row=1,
                col=column,
            )
