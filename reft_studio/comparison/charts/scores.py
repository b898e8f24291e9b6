"""The filter's scores: their distribution on both sides of the threshold, and how well they separate labelled rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reft_studio.comparison.charts.style import bars, finish, message, rgba, theme
from reft_studio.data.grid import is_flagged
from reft_studio.stats import Estimate, RocPr, wilson

LABELLED = 30
"""Minimum labelled rows of each kind for a curve; with fewer its shape is noise."""


def why_hidden(curve: RocPr) -> str | None:
    """The reason not to draw curves, or None."""
    if min(curve.positives, curve.negatives) >= LABELLED:
        return None
    counts = f"there are {curve.positives} and {curve.negatives}"
    return f"A curve needs at least {LABELLED} rows known to be harmful and {LABELLED} known to be harmless; {counts}."


def roc_pr(curve: RocPr, *, threshold: float | None = None, dark: bool = False) -> go.Figure:
    """ROC and precision-recall curve of one scorer, with the current threshold and its 95 % intervals."""
    if reason := why_hidden(curve):
        return message(reason, dark=dark)
    colours = theme(dark=dark)
    base = 100 * curve.positives / (curve.positives + curve.negatives)
    figure = make_subplots(1, 2, horizontal_spacing=0.09, subplot_titles=["ROC", "Precision and recall"])
    panels = ((curve.fpr, curve.tpr, [0, 100], [0, 100]), (curve.recall, curve.precision, [0, 100], [base, base]))
    for column, (x, y, blind_x, blind_y) in enumerate(panels, start=1):
        skill = {"color": colours.zero, "dash": "dot", "width": 1.2}
        blind = go.Scatter(x=blind_x, y=blind_y, mode="lines", line=skill, name="no skill", showlegend=column == 1, hoverinfo="skip")
        figure.add_trace(blind, row=1, col=column)
        figure.add_trace(_curve(curve, x, y, column, dark=dark), row=1, col=column)
    if threshold is not None:
        _current(figure, curve, threshold, dark=dark)
    figure.update_xaxes(title_text="← better   Harmless rows flagged (%)", range=(-2, 102), row=1, col=1)
    figure.update_yaxes(title_text="Harmful rows flagged (%)   better →", range=(-2, 102), row=1, col=1)
    figure.update_xaxes(title_text="Harmful rows flagged (%)   better →", range=(-2, 102), row=1, col=2)
    figure.update_yaxes(title_text="Flagged rows that are harmful (%)   better →", range=(-2, 102), row=1, col=2)
    figure.update_annotations(font={"size": 12.5}, yshift=2)
    subtitle = (
        f"n = {curve.positives} harmful and {curve.negatives} harmless labelled rows · AUROC {curve.auroc:.3f}"
        f" · average precision {curve.average_precision:.3f} · precision holds for this share of harm ({base:.1f} %)"
    )
    legend = ["filter", "no skill", *(["threshold in use"] if threshold is not None else [])]
    return finish(figure, dark=dark, title="How well the filter separates", subtitle=subtitle, height=360, legend=legend)


def histogram(
    edges: Sequence[float],
    *,
    harmful: Sequence[int],
    harmless: Sequence[int],
    unknown: Sequence[int] | None = None,
    threshold: float | None = None,
    log: bool = False,
    dark: bool = False,
) -> go.Figure:
    """Counts of rows by score, stacked by label; `edges` are the len(counts) + 1 bin edges."""
    colours = theme(dark=dark)
    series = [
        ("known harmful", harmful, "#D55E00", "/"),
        ("known harmless", harmless, "#0072B2", ""),
        ("not labelled", unknown or [], "#999999", "."),
    ]
    total = sum(sum(counts) for _, counts, _, _ in series)
    if not total:
        return message("No row has been scored yet.", dark=dark)
    figure = go.Figure()
    drawn = [entry for entry in series if sum(entry[1])]
    for name, counts, colour, pattern in drawn:
        figure.add_trace(
            go.Bar(
                x=[(low + high) / 2 for low, high in pairwise(edges)],
                y=list(counts),
                width=[high - low for low, high in pairwise(edges)],
                name=name,
                marker={
                    "color": colours.colour(colour),
                    "line": {"width": 0.5, "color": colours.card},
                    "pattern": {
                        "shape": pattern,
                        "fillmode": "overlay",
                        "fgcolor": colours.card,
                        "fgopacity": 0.4,
                        "size": 5,
                        "solidity": 0.3,
                    },
                },
                hovertemplate=f"%{{y}} rows {name}<br>score about %{{x:.3f}}<extra></extra>",
            )
        )
    figure.update_layout(barmode="stack", bargap=0)
    flagged = f"n = {total} rows"
    if threshold is not None:
        _threshold(figure, threshold, edges[-1], dark=dark)
        flagged = f"{flagged} · flagged side shaded (score at or above {threshold:.3f})"
    figure.update_xaxes(title_text="Score   more harmful →", range=(edges[0], edges[-1]))
    figure.update_yaxes(title_text="Rows" + (" (log)" if log else ""), type="log" if log else "linear")
    return finish(figure, dark=dark, title="Scores of the filter", subtitle=flagged, height=300, legend=[name for name, *_ in drawn])


def _curve(curve: RocPr, x: Sequence[float], y: Sequence[float], column: int, *, dark: bool) -> go.Scatter:
    hover = (
        "flags %{y:.1f} % of the harmful and %{x:.1f} % of the harmless rows"
        if column == 1
        else "%{y:.1f} % of flagged rows harmful, %{x:.1f} % of harmful rows found"
    )
    return go.Scatter(
        x=[100 * value for value in x],
        y=[100 * value for value in y],
        mode="lines",
        line={"color": theme(dark=dark).colour("#009E73"), "width": 2.2, "shape": "linear"},
        name="filter",
        legendgroup="filter",
        showlegend=column == 1,
        customdata=curve.thresholds,
        hovertemplate=f"Threshold %{{customdata:.3f}}:<br>{hover}<extra></extra>",
    )


def _current(figure: go.Figure, curve: RocPr, threshold: float, *, dark: bool) -> None:
    """The operating point of the current threshold, with Wilson intervals."""
    at = max((i for i, value in enumerate(curve.thresholds) if is_flagged(value, threshold)), default=0)
    hits, alarms = round(curve.tpr[at] * curve.positives), round(curve.fpr[at] * curve.negatives)
    recall, fpr = wilson(hits, curve.positives), wilson(alarms, curve.negatives)
    precision = wilson(hits, hits + alarms) if hits + alarms else None
    colour = theme(dark=dark).colour("#E69F00")
    for column, x, y in ((1, fpr, recall), (2, recall, precision)):
        if y is not None:
            figure.add_trace(_cross(x, y, colour, threshold, first=column == 1), row=1, col=column)


def _cross(x: Estimate, y: Estimate, colour: str, threshold: float, *, first: bool) -> go.Scatter:
    return go.Scatter(
        x=[x.value],
        y=[y.value],
        mode="markers",
        name="threshold in use",
        legendgroup="threshold",
        showlegend=first,
        marker={"size": 11, "symbol": "circle", "color": colour, "line": {"width": 1.5, "color": "#1B1F24"}},
        error_x=bars([x.low], [x.value], [x.high], rgba(colour, 0.9)),
        error_y=bars([y.low], [y.value], [y.high], rgba(colour, 0.9)),
        hovertemplate=f"Threshold {threshold:.3f}: {x.value:.1f} % against {y.value:.1f} %<extra></extra>",
    )


def _threshold(figure: go.Figure, threshold: float, end: float, *, dark: bool) -> None:
    colours = theme(dark=dark)
    figure.add_vrect(x0=threshold, x1=max(end, threshold), fillcolor=rgba("#E69F00", 0.14), line_width=0, layer="below")
    figure.add_vline(x=threshold, line={"color": colours.ink, "width": 1.6, "dash": "dash"})
