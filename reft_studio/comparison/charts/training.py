"""Training curves of runs: losses, gradient norm, and the cosine between the gradients of user and alignment data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reft_studio.comparison.charts.style import ChartMark, finish, label, mark, message, rgba, theme

SMOOTHING = 0.6
"""Weight of the past in the bold line; 0 is the raw value."""
PANELS: tuple[tuple[str, str], ...] = (
    ("task", "Task loss on user data"),
    ("alignment", "Alignment loss (teacher's guidance)"),
    ("grad_norm", "Gradient norm"),
    ("grad_cosine", "Cosine of task and alignment gradients"),
    ("lr", "Learning rate"),
)
POINTS = 500
"""Maximum points per line; longer logs are thinned evenly, the last step kept."""
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def training_curves(
    logs: Mapping[str, Sequence[Mapping[str, Any]]], *, methods: Mapping[str, str] | None = None, dark: bool = False
) -> go.Figure:
    """Training logs by title of the run; `methods` gives each title its method, for its colour. Faint: raw, bold: smoothed (0.6)."""
    panels = [(key, title) for key, title in PANELS if any(row.get(key) is not None for log in logs.values() for row in log)]
    if not panels:
        return message("No training step has been logged yet.", dark=dark)
    columns = min(3, len(panels)) if len(panels) != 4 else 2
    height = -(-len(panels) // columns)
    figure = make_subplots(
        height, columns, subplot_titles=[title for _, title in panels], horizontal_spacing=0.07, vertical_spacing=0.2 if height > 1 else 0.0
    )
    for index, (title, log) in enumerate(logs.items()):
        style = _style(title, index, methods or {}, dark=dark)
        shown = False
        for position, (key, _) in enumerate(panels):
            row, column = position // columns + 1, position % columns + 1
            shown = _curve(figure, log, key, label(title), style, row=row, column=column, named=not shown) or shown
    for position, (key, _) in enumerate(panels):
        row, column = position // columns + 1, position % columns + 1
        figure.update_xaxes(title_text="Step" if position >= len(panels) - columns else None, row=row, col=column)
        if key == "grad_cosine":
            reach = max(0.2, *(abs(entry["grad_cosine"]) for log in logs.values() for entry in log if entry.get("grad_cosine") is not None))
            _zero(figure, row, column, reach=min(1.0, 1.1 * reach), dark=dark)
        elif key != "lr":
            figure.update_yaxes(rangemode="tozero", row=row, col=column)
    figure.update_annotations(font={"size": 12.5}, yshift=2)
    steps = max((int(log[-1]["step"]) for log in logs.values() if log), default=0)
    runs = "run" if len(logs) == 1 else "runs"
    return finish(
        figure,
        dark=dark,
        title="Training",
        subtitle=f"n = {len(logs)} {runs}, up to {steps} steps · faint: every step, bold: smoothed ({SMOOTHING:g})",
        height=250 * height,
        legend=list(logs) if len(logs) > 1 else (),
    )


def smoothed(values: Sequence[float | None], weight: float = SMOOTHING) -> list[float | None]:
    """Bias-corrected exponential moving average; a missing value stays missing."""
    averages, past, mass = list[float | None](), 0.0, 0.0
    for value in values:
        if value is None:
            averages.append(None)
            continue
        past, mass = weight * past + (1 - weight) * value, weight * mass + (1 - weight)
        averages.append(past / mass)
    return averages


def _curve(
    figure: go.Figure, log: Sequence[Mapping[str, Any]], key: str, name: str, style: ChartMark, *, row: int, column: int, named: bool
) -> bool:
    values = [entry.get(key) for entry in log]
    if not any(value is not None for value in values):
        return False
    steps, bold = [entry["step"] for entry in log], smoothed(values)
    measured = [i for i, value in enumerate(values) if value is not None or key != "grad_cosine"]  # it is measured at some steps only
    keep = sorted({*measured[:: max(1, -(-len(measured) // POINTS))], measured[-1]})
    for y, faint in ((values, True), (bold, False)) if key != "lr" else ((values, False),):
        figure.add_trace(
            go.Scatter(
                x=[steps[i] for i in keep],
                y=[y[i] for i in keep],
                mode="lines",
                name=name,
                legendgroup=name,
                showlegend=named and not faint,
                line={
                    "color": rgba(style.colour, 0.25) if faint else style.colour,
                    "width": 1 if faint else 2,
                    "dash": "solid" if faint else style.dash,
                },
                hoverinfo="skip" if faint else None,
                hovertemplate=None if faint else f"<b>{name}</b><br>step %{{x}}: %{{y:.4g}}<extra></extra>",
            ),
            row=row,
            col=column,
        )
    return True


def _zero(figure: go.Figure, row: int, column: int, *, reach: float, dark: bool) -> None:
    """The zero line: below it the two losses pull in opposite directions."""
    figure.add_hrect(y0=-1, y1=0, fillcolor=rgba("#D55E00", 0.08), line_width=0, layer="below", row=row, col=column)
    figure.add_hline(y=0, line={"color": theme(dark=dark).zero, "width": 1}, row=row, col=column)
    figure.update_yaxes(range=(-reach, reach), row=row, col=column)


def _style(title: str, index: int, methods: Mapping[str, str], *, dark: bool) -> ChartMark:
    """The method's colour; runs of one method differ by dash."""
    method = methods.get(title, title)
    same = [other for other in methods if methods[other] == method]
    base = mark(method, dark=dark)
    return ChartMark(base.colour, base.symbol, _DASHES[(same.index(title) if title in same else index) % len(_DASHES)])
