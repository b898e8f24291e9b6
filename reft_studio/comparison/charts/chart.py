"""The protocol of a chart: its values, its figure, and its numbers as a table. Compare and the report show all registered ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from reft_studio.comparison.costs import RunCost
from reft_studio.comparison.numbers import Numbers
from reft_studio.comparison.table import RunRow


@dataclass(frozen=True)
class Compared:
    """The values that charts draw: the compared models, and their costs.

    `swept` are the runs of their methods at every poison ratio; empty if there is only one.
    """

    models: Sequence[RunRow]
    swept: Sequence[RunRow] = ()
    costs: Sequence[RunCost] = ()


@dataclass(frozen=True)
class Chart:
    """A chart. `chosen` selects what it draws from the comparison; the chart is hidden if that is empty.

    `draw(chosen, dark=...)` gives the figure and `numbers(chosen)` the rows of its CSV. `files` names its files, `summary` describes it
    for a screen reader.
    """

    files: str
    summary: str
    chosen: Callable[[Compared], Sequence[Any]]
    draw: Callable[..., go.Figure]
    numbers: Callable[[Any], Numbers]
