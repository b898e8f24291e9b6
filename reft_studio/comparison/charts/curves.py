"""Metrics of several methods, or variants of one, against the poison ratio; as dots if there is only one ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reft_studio.comparison.charts.style import ChartMark, bars, estimate_words, finish, label, mark, rgba
from reft_studio.comparison.table import Metric
from reft_studio.stats import Estimate

_TITLES: dict[Metric, str] = {
    "hs": "Harmful score (%)   ↓ better",
    "over_refusal": "Over-refusal (%)   ↓ better",
    "fa": "Finetune accuracy (%)   ↑ better",
}
_NAMES: dict[Metric, str] = {"hs": "Harmful score", "over_refusal": "Over-refusal", "fa": "Finetune accuracy"}
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_ROW = 30
"""Height in pixels of a line of dots."""


@dataclass(frozen=True)
class Curve:
    """One line: estimates by poison ratio, 0 to 1, and metric."""

    name: str
    mark: ChartMark
    points: Mapping[float, Mapping[Metric, Estimate]]


def curves(lines: Sequence[Curve], metrics: Sequence[Metric], *, title: str, subtitle: str, dark: bool = False) -> go.Figure:
    """A panel per metric against the poison ratio; a ratio without a number is a gap in the line."""
    ratios = sorted({ratio for curve in lines for ratio in curve.points})
    spacing = 0.165 / len(metrics)
    figure = make_subplots(1, len(metrics), horizontal_spacing=spacing, subplot_titles=[_TITLES[metric] for metric in metrics])
    for curve in lines:
        for column, metric in enumerate(metrics, start=1):
            _line(figure, ratios, [curve.points.get(ratio, {}).get(metric) for ratio in ratios], column, label(curve.name), curve.mark)
    figure.update_xaxes(
        title_text="Poison ratio (%)", tickvals=[100 * ratio for ratio in ratios], ticktext=[f"{100 * ratio:g}" for ratio in ratios]
    )
    figure.update_yaxes(range=(-3, 103))
    figure.update_annotations(font={"size": 12.5}, yshift=4)
    return finish(figure, dark=dark, title=title, subtitle=subtitle, height=320, legend=[label(curve.name) for curve in lines])


def dots(lines: Sequence[Curve], metrics: Sequence[Metric], *, title: str, subtitle: str, dark: bool = False) -> go.Figure:
    """The same for a single poison ratio: a line per curve, its metrics in columns with their intervals."""
    names = _unique([label(curve.name) for curve in lines])
    figure = make_subplots(1, len(metrics), shared_yaxes=True, horizontal_spacing=0.03)
    for curve, name in zip(lines, names, strict=True):
        for column, metric in enumerate(metrics, start=1):
            known = [point[metric] for point in curve.points.values() if metric in point]
            for estimate in known[:1]:
                whiskers = bars([estimate.low], [estimate.value], [estimate.high], rgba(curve.mark.colour, 0.6))
                figure.add_trace(
                    go.Scatter(
                        x=[estimate.value],
                        y=[name],
                        mode="markers",
                        showlegend=False,
                        marker={"color": curve.mark.colour, "symbol": curve.mark.symbol, "size": 10, "line": {"width": 1.5}},
                        error_x=whiskers,
                        hovertemplate=f"<b>{name}</b><br>{estimate_words(estimate)}<extra></extra>",
                    ),
                    row=1,
                    col=column,
                )
    for column, metric in enumerate(metrics, start=1):
        better = "higher is better →" if metric == "fa" else "← lower is better"
        figure.update_xaxes(title_text=f"{_NAMES[metric]} (%)   {better}", range=(-3, 103), row=1, col=column)
    figure.update_yaxes(autorange="reversed", automargin=True, type="category", categoryorder="array", categoryarray=names)
    return finish(figure, dark=dark, title=title, subtitle=subtitle, height=40 + _ROW * len(lines))


def variant_marks(methods: Sequence[str], *, dark: bool) -> list[ChartMark]:
    """A mark for each of several variants, by their methods: the method's own for the first, then its colour with outlines and dashes."""
    used: dict[str, int] = {}
    marks = []
    for method in methods:
        index, own = used.get(method, 0), mark(method, dark=dark)
        used[method] = index + 1
        dashes = (own.dash, *(dash for dash in _DASHES if dash != own.dash))
        outlined = f"{own.symbol}-open" if index % 2 and not own.symbol.endswith("-open") else own.symbol
        marks.append(ChartMark(own.colour, outlined, dashes[index % len(dashes)]))
    return marks


def _unique(names: Sequence[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})" for index, name in enumerate(names)]


def _line(
    figure: go.Figure, ratios: Sequence[float], estimates: Sequence[Estimate | None], column: int, name: str, style: ChartMark
) -> None:
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
            text=[estimate_words(estimate) if estimate else "" for estimate in estimates],
            hovertemplate=f"<b>{name}</b>, %{{x:g}} % poison<br>%{{text}}<extra></extra>",
        ),
        row=1,
        col=column,
    )


def _stretches(values: Sequence[object | None]) -> list[tuple[int, int]]:
    """Ranges of consecutive known values, half-open."""
    ranges, start = [], None
    for i, value in enumerate([*values, None]):
        if value is not None and start is None:
            start = i
        elif value is None and start is not None:
            ranges.append((start, i))
            start = None
    return ranges
