"""A table over any number of rows that asks the server for what is on the screen, with a detail pane beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from ui.widgets.compose import composed

ServerFunction = Callable[[Any], dict[str, Any]]


def row_table(rows: ServerFunction, card: ServerFunction, elem_id: str = "rows") -> gr.HTML:
    """`rows` must be named `srv_rows` and `card` `srv_card`; see `ui.components.cards` for what they answer."""
    return composed(
        "row_table",
        parts=("dom", "threshold_math", "card"),
        styles=("card",),
        server_functions=[rows, card],
        elem_id=elem_id,
    )


def row_table_value(dataset: str, key: str, threshold: float, missing: int) -> str:
    """Which rows the table shows, how many of them have no score; the line's position then follows the threshold panel without a call."""
    return json.dumps({"dataset": dataset, "key": key, "threshold": threshold, "missing": missing})
