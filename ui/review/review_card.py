"""The review: a batch of rows decided one by one with keys; every decision is saved at once and can be taken back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.widgets import widget

if TYPE_CHECKING:
    from reft_studio.studio.review_queue import RowsToRead
    from ui.shared.row_table import ServerFunction


def review_card(card: ServerFunction, find: ServerFunction, pulse: ServerFunction, elem_id: str = "review", bulk: str = "bulk") -> gr.HTML:
    """The functions must be named `srv_card`, `srv_find`, `srv_pulse`; `bulk` is the elem_id of the sheet that the key B opens.

    Events: "decide" {n, dataset, row, action, reason, stance, next, by, seen}, "undo" and "redo" {n, dataset, by}, each answered by
    `gr.HTML(receipt=…)` with the same `n`, since the widget sends one at a time, in order; "batch" {by, order, query} asks for more
    rows; "place" {dataset, by, row} says which row is on the screen; "opened" {by, texts} counts revealed texts; "habits" {by,
    dataset, reveal, nudge, size, approvals, checks} changes how this person works; "settled" says that all is saved.
    """
    return widget(
        "review_card",
        scripts=("dom", "threshold_math", "card", "review_queue", "review_desk"),
        styles=("card", "review_desk"),
        server_functions=[card, find, pulse],
        elem_id=elem_id,
        receipt="",
        bulk=bulk,
    )


def review_value(
    dataset: str,
    threshold: float | None,
    batch: RowsToRead,
    *,
    held: Mapping[str, Mapping[str, str]],
    **known: Any,
) -> str:
    """A batch to review, as JSON. `held` are decisions that hold for its rows; `known` is what else the widget shows.

    `start` opens one row first; another `turn` makes the widget begin anew even if all else is equal.
    """
    queue: Sequence[dict[str, Any]] = [
        {"row": item.row_id, "shown": item.shown, "why": item.why, "score": item.score, "held": held.get(str(item.row_id))}
        for item in batch.items
    ]
    values = {"dataset": dataset, "threshold": threshold, "queue": queue, "order": batch.order, "matching": batch.matching, **known}
    return json.dumps(values, allow_nan=False)
