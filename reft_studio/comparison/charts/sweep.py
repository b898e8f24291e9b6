"""Metrics against the poison ratio of the user data, one line per method."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from reft_studio.comparison.charts.chart import Chart
from reft_studio.comparison.charts.curves import Curve, curves
from reft_studio.comparison.charts.style import mark, message
from reft_studio.comparison.numbers import of_models
from reft_studio.comparison.table import METRICS, Metric, RunRow, Summary, method_title, summaries
from reft_studio.stats import Estimate


def sweep(rows: Sequence[RunRow], *, dark: bool = False) -> go.Figure:
    """HS, over-refusal and FA against the poison ratio. Bands are 95 % intervals; a ratio without a run is a gap in the line."""
    means = [summary for summary in summaries(rows) if summary.poison_ratio is not None]
    ratios = sorted({summary.poison_ratio for summary in means if summary.poison_ratio is not None})
    if len(ratios) < 2:
        return message(
            "A sweep needs runs at two or more shares of poison. Train the same method on user data with another poison ratio.", dark=dark
        )
    methods = list(dict.fromkeys(summary.method for summary in means))
    lines = []
    for method in methods:
        line = {ratio: summary_at for ratio in ratios if (summary_at := _at(means, method, ratio)) is not None}
        points = {ratio: _metrics(summary_at) for ratio, summary_at in line.items()}
        lines.append(Curve(method_title(method), mark(method, dark=dark), points))
    several = sum(summary.seeds > 1 for summary in means)
    seeds = f"{several} of {len(means)} points are means over seeds" if several else "one seed each: training noise unknown"
    first = next(summary for summary in means if summary.hs)
    return curves(
        lines,
        METRICS,
        title="More poison in the user data",
        subtitle=f"n = {first.hs.n if first.hs else 0} harmful prompts per point · bands: 95 % intervals · {seeds}",
        dark=dark,
    )


def _metrics(summary: Summary) -> dict[Metric, Estimate]:
    return {metric: estimate for metric in METRICS if (estimate := summary.metric(metric)) is not None}


def _at(means: Sequence[Summary], method: str, ratio: float) -> Summary | None:
    """The method's summary at this ratio; of several settings the one with most seeds."""
    matching = [summary for summary in means if summary.method == method and summary.poison_ratio == ratio]
    return max(matching, key=lambda summary: summary.seeds, default=None)


CHART = Chart(
    files="poison-sweep",
    summary="Numbers against the share of poison.",
    chosen=lambda compared: compared.swept,
    draw=sweep,
    numbers=of_models,
)
