"""A chart of the comparison: what it draws, from what, and the numbers behind it. Compare and the report show all that are registered."""

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
    """What charts may draw from: the models side by side, and what they cost.

    `swept` are the runs of their methods at every share of poison; none where there is one share only.
    """

    models: Sequence[RunRow]
    swept: Sequence[RunRow] = ()
    costs: Sequence[RunCost] = ()


@dataclass(frozen=True)
class Chart:
    """A chart. `chosen` takes out of the comparison what it draws; it is hidden where that is nothing.

    `draw(chosen, dark=...)` gives the figure and `numbers(chosen)` the rows of its CSV. `files` names its files, `summary` says for a
    screen reader what is drawn.
    """

    files: str
    summary: str
    chosen: Callable[[Compared], Sequence[Any]]
    draw: Callable[..., go.Figure]
    numbers: Callable[[Any], Numbers]
