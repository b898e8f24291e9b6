"""Harmful score by kind of harm: an average can hide one bad category."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reft_studio.comparison.charts.chart import Chart
from reft_studio.comparison.charts.style import bars, estimate_words, finish, label, mark, message, rgba
from reft_studio.comparison.numbers import of_categories
from reft_studio.comparison.table import RunRow

FEW = 20
"""Categories with fewer prompts are drawn hollow: their share says little."""
TOGETHER, ABREAST = 4, 5
"""Maximum number of models in one panel, and of panels in one line at 1024 pixels."""
TITLE = 18
"""Pixels of the second line of a panel's title."""


def category_dots(rows: Sequence[RunRow], *, dark: bool = False) -> go.Figure:
    """HS per category with Wilson intervals, categories sorted by their worst upper bound; many models get a panel each."""
    shown = [row for row in rows if row.by_category]
    if not shown:
        return message("No evaluated model has harmful prompts with categories.", dark=dark)
    worst = {name: max(row.by_category[name].high for row in shown if name in row.by_category) for row in shown for name in row.by_category}
    order = sorted(worst, key=lambda name: worst[name], reverse=True)
    sizes = {name: max(row.by_category[name].n for row in shown if name in row.by_category) for name in order}
    names, apart = _names(shown), len(shown) > TOGETHER
    columns = min(len(shown), ABREAST) if apart else 1
    lines = -(-len(shown) // columns) if apart else 1
    figure = make_subplots(
        lines,
        columns,
        shared_yaxes=True,
        horizontal_spacing=0.015,
        vertical_spacing=min(0.2, 78 / (22 * len(order) * lines)) if lines > 1 else 0.0,
        subplot_titles=[_broken(title) for title in names] if apart else None,
    )
    for index, (row, title) in enumerate(zip(shown, names, strict=True)):
        panel = divmod(index, columns) if apart else (0, 0)
        shift = 0.0 if apart else 0.62 * ((index + 0.5) / len(shown) - 0.5)
        _dots(figure, row, title, order, shift, panel, named=not apart, dark=dark)
    ticks = {"tickvals": list(range(len(order))), "ticktext": [f"{label(name)} ({sizes[name]})" for name in order]}
    figure.update_yaxes(**ticks, range=(len(order) - 0.4, -0.6), automargin=True)
    if apart:  # 100 is not written: it would run into the 0 of the next panel
        figure.update_xaxes(range=(-8, 106), tickvals=[0, 50, 100], ticktext=["0", "50", ""])
    else:
        figure.update_xaxes(range=(-4, 104))
    for column in range(1, columns + 1):
        last = (len(shown) - column) // columns + 1 if apart else 1  # the lowest panel of this column
        title = "← better   Harmful score (%)" if not apart else "HS (%)"
        figure.update_xaxes(title_text=title, row=last, col=column)
    figure.update_annotations(font={"size": 12}, yshift=2)
    few = f" · hollow: fewer than {FEW} prompts" if any(size < FEW for size in sizes.values()) else ""
    subtitle = f"n in brackets · bars: 95 % intervals (Wilson) · worst first: {label(order[0])}, up to {worst[order[0]]:.0f} %{few}"
    height = 40 + max(24, 13 * len(shown)) * len(order) if not apart else lines * (22 * len(order) + 78) - 40
    finish(figure, dark=dark, title="Harmful score by category", subtitle=subtitle, height=height, legend=() if apart else names)
    if apart:  # titles of panels take two lines
        figure.update_layout(height=figure.layout.height + TITLE, margin_t=figure.layout.margin.t + TITLE)
    return figure


def _dots(
    figure: go.Figure, row: RunRow, title: str, order: Sequence[str], shift: float, panel: tuple[int, int], *, named: bool, dark: bool
) -> None:
    """One model's dots in the panel at `place` (line, column), `shift` rows below the category's centre."""
    by_row = [(i, row.by_category[name]) for i, name in enumerate(order) if name in row.by_category]
    style, estimates = mark(row.method, dark=dark), [estimate for _, estimate in by_row]
    hollow = f"{style.symbol.removesuffix('-open')}-open"
    figure.add_trace(
        go.Scatter(
            x=[e.value for e in estimates],
            y=[i + shift for i, _ in by_row],
            mode="markers",
            name=title,
            showlegend=False,
            marker={"size": 9, "symbol": [style.symbol if e.n >= FEW else hollow for e in estimates], "color": style.colour},
            error_x=bars([e.low for e in estimates], [e.value for e in estimates], [e.high for e in estimates], rgba(style.colour, 0.5)),
            text=[f"{label(order[i])}<br>{estimate_words(e)}{'<br>few prompts: says little' if e.n < FEW else ''}" for i, e in by_row],
            hovertemplate=f"<b>{title}</b> on %{{text}}<extra></extra>",
        ),
        row=panel[0] + 1,
        col=panel[1] + 1,
    )
    if named:
        legend = {"size": 9, "symbol": style.symbol, "color": style.colour}
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=title, marker=legend))


def _broken(title: str, width: int = 19) -> str:
    """A title wrapped for a narrow panel."""
    return "<br>".join(wrap(title, width)[:3])


def _names(rows: Sequence[RunRow]) -> list[str]:
    titles = [label(row.title) for row in rows]
    return [title if titles.count(title) == 1 else f"{title} ({titles[: i + 1].count(title)})" for i, title in enumerate(titles)]


CHART = Chart(
    files="harmful-score-by-category",
    summary="Harmful score by category.",
    chosen=lambda compared: [row for row in compared.models if row.by_category],
    draw=category_dots,
    numbers=of_categories,
)
