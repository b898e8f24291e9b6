"""The charts of the comparison, registered by name; a new one is a file in `charts` and a line here. Does not import plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reft_studio.registry import Registry

if TYPE_CHECKING:
    from reft_studio.comparison.charts.chart import Chart

CHARTS: Registry[Chart] = Registry(
    "chart",
    {
        "trade_off": "reft_studio.comparison.charts.trade_off:CHART",
        "verdicts": "reft_studio.comparison.charts.verdicts:CHART",
        "sweep": "reft_studio.comparison.charts.sweep:CHART",
        "categories": "reft_studio.comparison.charts.categories:CHART",
        "costs": "reft_studio.comparison.charts.costs:CHART",
    },
)
"""In the order in which Compare and the report show them; both place `trade_off` first and `costs` with the table of costs."""
