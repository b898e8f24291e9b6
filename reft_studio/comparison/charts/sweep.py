"""Numbers against the share of poison in the user data, one line per method."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reft_studio.comparison.charts.chart import Chart
from reft_studio.comparison.charts.style import Mark, finish, label, mark, message, rgba, told
from reft_studio.comparison.numbers import of_models
from reft_studio.comparison.table import METRICS, Metric, RunRow, Summary, method_title, summaries

_TITLES: dict[Metric, str] = {
    "hs": "Harmful score (%)   ↓ better",
    "over_refusal": "Over-refusal (%)   ↓ better",
    "fa": "Finetune accuracy (%)   ↑ better",
}


def sweep(rows: Sequence[RunRow], *, dark: bool = False) -> go.Figure:
    """HS, over-refusal and FA against the poison ratio. Bands are 95 % intervals; a ratio without a run is a gap in the line."""
    means = [summary for summary in summaries(rows) if summary.poison_ratio is not None]
    ratios = sorted({summary.poison_ratio for summary in means if summary.poison_ratio is not None})
    if len(ratios) < 2:
        return message(
            "A sweep needs runs at two or more shares of poison. Train the same method on user data with another poison ratio.", dark=dark
        )
    methods = list(dict.fromkeys(summary.method for summary in means))
    figure = make_subplots(1, 3, horizontal_spacing=0.055, subplot_titles=[_TITLES[metric] for metric in METRICS])
    for method in methods:
        line = [_at(means, method, ratio) for ratio in ratios]
        for column, metric in enumerate(METRICS, start=1):
            _line(figure, ratios, line, metric, column, label(method_title(method)), mark(method, dark=dark))
    figure.update_xaxes(
        title_text="Poison ratio (%)", tickvals=[100 * ratio for ratio in ratios], ticktext=[f"{100 * ratio:g}" for ratio in ratios]
    )
    figure.update_yaxes(range=(-3, 103))
    figure.update_annotations(font={"size": 12.5}, yshift=4)
    several = sum(summary.seeds > 1 for summary in means)
    seeds = f"{several} of {len(means)} points are means over seeds" if several else "one seed each: training noise unknown"
    first = next(summary for summary in means if summary.hs)
    return finish(
        figure,
        dark=dark,
        title="More poison in the user data",
        subtitle=f"n = {first.hs.n if first.hs else 0} harmful prompts per point · bands: 95 % intervals · {seeds}",
        height=320,
        legend=[method_title(method) for method in methods],
    )


def _at(means: Sequence[Summary], method: str, ratio: float) -> Summary | None:
    """The method's summary at this ratio; of several settings the one with most seeds."""
    found = [summary for summary in means if summary.method == method and summary.poison_ratio == ratio]
    return max(found, key=lambda summary: summary.seeds, default=None)


def _line(
    figure: go.Figure, ratios: Sequence[float], line: Sequence[Summary | None], metric: Metric, column: int, name: str, style: Mark
) -> None:
    estimates = [summary.metric(metric) if summary else None for summary in line]
    if not any(estimates):
        return
    for start, stop in _stretches(estimates):
        known = [estimate for estimate in estimates[start:stop] if estimate is not None]
        x = [100 * ratio for ratio in ratios[start:stop]]
        figure.add_trace(
            go.Scatter(
                x=x + x[::-1],
                y=[e.high for e in known] + [e.low for e in reversed(known)],
                fill="toself",
                fillcolor=rgba(style.colour, 0.13),
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                legendgroup=name,
                showlegend=False,
            ),
            row=1,
            col=column,
        )
    figure.add_trace(
        go.Scatter(
            x=[100 * ratio for ratio in ratios],
            y=[estimate.value if estimate else None for estimate in estimates],
            mode="lines+markers",
            connectgaps=False,
            name=name,
            legendgroup=name,
            showlegend=column == 1,
            line={"color": style.colour, "dash": style.dash, "width": 2},
            marker={"color": style.colour, "symbol": style.symbol, "size": 9},
            text=[told(estimate) if estimate else "" for estimate in estimates],
            hovertemplate=f"<b>{name}</b>, %{{x:g}} % poison<br>%{{text}}<extra></extra>",
        ),
        row=1,
        col=column,
    )


def _stretches(values: Sequence[object | None]) -> list[tuple[int, int]]:
    """Runs of neighbouring known values, as half-open ranges."""
    found, start = [], None
    for i, value in enumerate([*values, None]):
        if value is not None and start is None:
            start = i
        elif value is None and start is not None:
            found.append((start, i))
            start = None
    return found


CHART = Chart(
    files="poison-sweep",
    summary="Numbers against the share of poison.",
    chosen=lambda compared: compared.swept,
    draw=sweep,
    numbers=of_models,
)
