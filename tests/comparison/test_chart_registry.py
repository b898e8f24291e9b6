"""A chart is a file and a line: what is registered stands on Compare and in the report, and is hidden where it has nothing to draw."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import plotly.graph_objects as go
import pytest

from reft_studio.comparison.chart_registry import CHARTS
from reft_studio.comparison.charts import Chart, Compared
from reft_studio.comparison.table import RunRow
from reft_studio.report import figures
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from ui.compare import view as compare_view


def drawn(rows: list[str], *, dark: bool = False) -> go.Figure:
    return go.Figure(go.Bar(x=rows)).update_layout(height=123, title_text="dark" if dark else "light")


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> str:
    """A chart of a module of its own, registered by one line."""
    module = ModuleType("chart_of_a_test")
    names: Any = lambda compared: [row.title for row in compared.models]  # noqa: E731
    chart: Any = Chart("names", "The names.", names, drawn, lambda rows: [{"n": len(rows)}])
    vars(module)["CHART"] = chart
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(CHARTS._entries, "names", f"{module.__name__}:CHART")
    return "names"


def test_a_new_chart_stands_on_compare_and_in_the_report(added: str, rows: list[RunRow], workspace: Workspace) -> None:
    kept = [row for row in rows if row.poison_ratio == 0.1]
    found = figures.comparison(Compared(kept))
    assert found[added].summary == "The names." and found[added].height == 123 and "dark" in found[added].dark
    view = compare_view.comparison(Studio(workspace), [row.run_id for row in kept], dark=False)
    *_, box, plot, files = view.charts
    assert (box["visible"], plot["value"].layout.height, files["csv"]) == (True, 123, f"n\n{len(kept)}\n")


def test_a_chart_without_anything_to_draw_is_hidden(rows: list[RunRow]) -> None:
    found = figures.comparison(Compared(rows[:1]))
    assert "trade_off" in found and "sweep" not in found and "costs" not in found
    assert figures.comparison(Compared([])) == {}
