"""A table over any number of rows that asks the server for what is on the screen, with filters, a SQL box and a detail pane."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from ui.widgets import widget

ServerFunction = Callable[[Any], dict[str, Any]]


def row_table(
    rows: ServerFunction, card: ServerFunction, choices: ServerFunction, sql: ServerFunction, *, elem_id: str = "rows"
) -> gr.HTML:
    """The functions must be named `srv_rows`, `srv_card`, `srv_choices` and `srv_sql`; see `ui.filter.rows_panel`.

    Event: "make_index" {dataset}, a person asks for the search index.
    """
    return widget(
        "row_table",
        scripts=("dom", "threshold_math", "row_filter", "card", "row_sql", "row_pick"),
        styles=("card",),
        server_functions=[rows, card, choices, sql],
        elem_id=elem_id,
    )


def row_table_value(dataset: str, key: str | None, threshold: float | None, missing: int, waiting: int) -> str:
    """Which rows the table shows, how many of them cannot be scored and how many are not yet.

    The position of the line then follows the threshold panel without a call.
    """
    return json.dumps({"dataset": dataset, "key": key, "threshold": threshold, "missing": missing, "waiting": waiting})
