"""Plotly figures from values only. Every chart shows n, 95 % intervals and a direction, in light and dark."""

from __future__ import annotations

from reft_studio.comparison.charts.categories import category_dots
from reft_studio.comparison.charts.chart import Chart, Compared
from reft_studio.comparison.charts.costs import cost_bars
from reft_studio.comparison.charts.dose import dose_response
from reft_studio.comparison.charts.pairs import flip_table, forest
from reft_studio.comparison.charts.scores import histogram, roc_pr, why_hidden
from reft_studio.comparison.charts.style import ChartMark, mark, message
from reft_studio.comparison.charts.sweep import sweep
from reft_studio.comparison.charts.trade_off import trade_off
from reft_studio.comparison.charts.training import training_curves
from reft_studio.comparison.charts.verdicts import verdict_bars

__all__ = [
    "Chart",
    "ChartMark",
    "Compared",
    "category_dots",
    "cost_bars",
    "dose_response",
    "flip_table",
    "forest",
    "histogram",
    "mark",
    "message",
    "roc_pr",
    "sweep",
    "trade_off",
    "training_curves",
    "verdict_bars",
    "why_hidden",
]
