"""The figures of a report, each in a light and a dark version, as JSON that stands safely inside HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from reft_studio.comparison import charts
from reft_studio.comparison.costs import RunCost
from reft_studio.comparison.flips import Paired
from reft_studio.comparison.report.model_part import training_log
from reft_studio.comparison.story import usual_rows
from reft_studio.comparison.table import RunRow
from reft_studio.stats import RocPr
from reft_studio.workspace import Workspace


@dataclass(frozen=True)
class Figure:
    """One chart: `light` and `dark` are plotly JSON, `height` is in pixels, `summary` says for a screen reader what is drawn."""

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
    """Curves of one run per method, since the rest would only thicken the lines."""
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


def costs(found: Sequence[RunCost]) -> Figure:
    """Time by stage and peak memory of the runs."""
    return _figure("costs", "Time by stage, and peak memory, of each run.", lambda dark: charts.cost_bars(found, dark=dark))


def comparison(rows: Sequence[RunRow], differences: Sequence[Paired]) -> dict[str, Figure]:
    """The charts of the comparison that the runs allow, by name."""
    titles = {row.run_id: row.title for row in rows}
    usual = usual_rows(rows)
    found = {
        "trade_off": _figure(
            "trade-off", "Harmful score against finetune accuracy and over-refusal.", lambda dark: charts.trade_off(usual, dark=dark)
        ),
        "verdicts": _figure("verdicts", "Shares of refusals and answers.", lambda dark: charts.verdict_bars(usual, dark=dark)),
    }
    if len({row.poison_ratio for row in rows if row.poison_ratio is not None}) > 1:
        found["sweep"] = _figure("sweep", "Numbers against the share of poison.", lambda dark: charts.sweep(rows, dark=dark))
    if differences:
        found["forest"] = _figure(
            "differences", "Paired differences with intervals.", lambda dark: charts.forest(differences, titles, dark=dark)
        )
    if shown := [row for row in usual if row.by_category]:
        found["categories"] = _figure("categories", "Harmful score by category.", lambda dark: charts.category_dots(shown, dark=dark))
    return found


def _figure(name: str, summary: str, draw: Callable[[bool], go.Figure]) -> Figure:
    light, dark = draw(False), draw(True)
    return Figure(name, summary, int(light.layout.height), _json(light), _json(dark))


def _json(figure: go.Figure) -> str:
    """Plotly's JSON; `<` and `>` are escaped, so that no string in it can end the script element that holds it."""
    return str(figure.to_json()).replace("<", "\\u003c").replace(">", "\\u003e")
