"""The figures of a report, each in a light and a dark version, as JSON that is safe inside HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import plotly.graph_objects as go

from reft_studio.comparison import charts
from reft_studio.comparison.chart_registry import CHARTS
from reft_studio.comparison.flips import Paired
from reft_studio.comparison.table import RunRow
from reft_studio.report.model_part import training_log
from reft_studio.stats import RocPr
from reft_studio.workspace import Workspace


@dataclass(frozen=True)
class Figure:
    """One chart: `light` and `dark` are plotly JSON, `height` is in pixels, `summary` describes it for a screen reader."""

    name: str
    summary: str
    height: int
    light: str
    dark: str


def histogram(part: Mapping[str, Any]) -> Figure:
    """Scores of the filter, from the report's own numbers."""
    bins = part["histogram"]
    counts = {kind: bins[kind] for kind in ("harmful", "harmless", "unknown")}
    summary = f"Histogram of the scores of {part['scored']} rows; {part['flagged']} lie at or above the threshold {part['threshold']:.3f}."
    return _figure("scores", summary, lambda dark: charts.histogram(bins["edges"], **counts, threshold=part["threshold"], dark=dark))


def roc_pr(curve: RocPr, threshold: float) -> Figure:
    """ROC and precision-recall."""
    summary = f"ROC and precision-recall curves; the area under the ROC curve is {curve.auroc:.3f}."
    return _figure("roc", summary, lambda dark: charts.roc_pr(curve, threshold=threshold, dark=dark))


def training(workspace: Workspace, rows: Sequence[RunRow]) -> Figure | None:
    """Curves of one run per method, to keep the lines readable."""
    first: dict[str, RunRow] = {}
    for row in rows:
        if not row.is_reference:
            first.setdefault(row.method, row)
    logs = {row.title: training_log(workspace, row.run_id) for row in first.values()}
    logs = {title: log for title, log in logs.items() if log}
    methods = {row.title: row.method for row in first.values()}
    if not logs:
        return None
    return _figure(
        "training", f"Training curves of {', '.join(logs)}.", lambda dark: charts.training_curves(logs, methods=methods, dark=dark)
    )


def comparison(compared: charts.Compared) -> dict[str, Figure]:
    """Every chart of the comparison that has something to draw, by name."""
    drawn = {}
    for name, chart in CHARTS.all().items():
        if chosen := chart.chosen(compared):
            drawn[name] = _figure(name, chart.summary, partial(_drawn, chart, chosen))
    return drawn


def _drawn(chart: charts.Chart, chosen: Sequence[Any], dark: bool) -> go.Figure:
    return chart.draw(chosen, dark=dark)


def forest(rows: Sequence[RunRow], differences: Sequence[Paired]) -> Figure:
    """Paired differences with their intervals."""
    titles = {row.run_id: row.title for row in rows}
    return _figure("differences", "Paired differences with intervals.", lambda dark: charts.forest(differences, titles, dark=dark))


def _figure(name: str, summary: str, draw: Callable[[bool], go.Figure]) -> Figure:
    light, dark = draw(False), draw(True)
    return Figure(name, summary, int(light.layout.height), _json(light), _json(dark))


def _json(figure: go.Figure) -> str:
    """Plotly's JSON; `<` and `>` are escaped, so that no string in it can end the enclosing script element."""
    return str(figure.to_json()).replace("<", "\\u003c").replace(">", "\\u003e")
