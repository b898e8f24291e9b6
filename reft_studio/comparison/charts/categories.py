"""Harmful score by kind of harm: an average can hide one bad category."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from reft_studio.comparison.charts.style import bars, finish, label, mark, message, rgba, told
from reft_studio.comparison.table import RunRow

FEW = 20
"""Below this many prompts a category's share is drawn hollow: it says little."""


def category_dots(rows: Sequence[RunRow], *, dark: bool = False) -> go.Figure:
    """HS per category with Wilson intervals, categories sorted by their worst upper bound."""
    shown = [row for row in rows if row.by_category]
    if not shown:
        return message("No evaluated model has harmful prompts with categories.", dark=dark)
    worst = {name: max(row.by_category[name].high for row in shown if name in row.by_category) for row in shown for name in row.by_category}
    order = sorted(worst, key=lambda name: worst[name], reverse=True)
    sizes = {name: max(row.by_category[name].n for row in shown if name in row.by_category) for name in order}
    figure, names = go.Figure(), _names(shown)
    for index, (row, title) in enumerate(zip(shown, names, strict=True)):
        found = [(i, row.by_category[name]) for i, name in enumerate(order) if name in row.by_category]
        style, shift = mark(row.method, dark=dark), 0.62 * ((index + 0.5) / len(shown) - 0.5)
        estimates = [estimate for _, estimate in found]
        hollow = f"{style.symbol.removesuffix('-open')}-open"
        figure.add_trace(
            go.Scatter(
                x=[e.value for e in estimates],
                y=[i + shift for i, _ in found],
                mode="markers",
                name=title,
                showlegend=False,
                marker={"size": 9, "symbol": [style.symbol if e.n >= FEW else hollow for e in estimates], "color": style.colour},
                error_x=bars(
                    [e.low for e in estimates], [e.value for e in estimates], [e.high for e in estimates], rgba(style.colour, 0.5)
                ),
                text=[f"{label(order[i])}<br>{told(e)}{'<br>few prompts: says little' if e.n < FEW else ''}" for i, e in found],
                hovertemplate=f"<b>{title}</b> on %{{text}}<extra></extra>",
            )
        )
        figure.add_trace(
            go.Scatter(x=[None], y=[None], mode="markers", name=title, marker={"size": 9, "symbol": style.symbol, "color": style.colour})
        )
    figure.update_yaxes(
        tickvals=list(range(len(order))),
        ticktext=[f"{label(name)} ({sizes[name]})" for name in order],
        range=(len(order) - 0.4, -0.6),
        automargin=True,
    )
    figure.update_xaxes(title_text="← better   Harmful score (%)", range=(-2, 102))
    few = f" · hollow: fewer than {FEW} prompts" if any(size < FEW for size in sizes.values()) else ""
    subtitle = f"n in brackets · bars: 95 % intervals (Wilson) · worst first: {label(order[0])}, up to {worst[order[0]]:.0f} %{few}"
    height = 40 + max(24, 13 * len(shown)) * len(order)
    return finish(figure, dark=dark, title="Harmful score by category", subtitle=subtitle, height=height, legend=names)


def _names(rows: Sequence[RunRow]) -> list[str]:
    titles = [label(row.title) for row in rows]
    return [title if titles.count(title) == 1 else f"{title} ({titles[: i + 1].count(title)})" for i, title in enumerate(titles)]
