"""The review: a batch of rows decided one by one with keys; every decision is saved at once and can be taken back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.widgets.compose import composed

if TYPE_CHECKING:
    from reft_studio.audit.queue import QueueItem
    from ui.widgets.row_table import ServerFunction


def review_card(card: ServerFunction, find: ServerFunction, elem_id: str = "review", bulk: str = "bulk") -> gr.HTML:
    """`card` must be named `srv_card`, `find` `srv_find`; `bulk` is the elem_id of the sheet that the key B opens.

    Events: "decide" {n, dataset, row, action, reason}, "undo" and "redo" {n, dataset}, each answered by `gr.HTML(receipt=…)` with
    the same `n`, since the widget sends one at a time, in order; "batch" asks for more rows; "settled" says that all is saved.
    """
    return composed(
        "review_card",
        parts=("dom", "threshold_math", "card", "review_queue"),
        styles=("card",),
        server_functions=[card, find],
        elem_id=elem_id,
        receipt="",
        bulk=bulk,
    )


def review_value(
    dataset: str,
    threshold: float | None,
    queue: Sequence[QueueItem],
    *,
    progress: dict[str, str],
    recent: list[dict[str, Any]],
    start: int | None = None,
    turn: int = 0,
) -> str:
    """A batch to review. `start` opens one row first; another `turn` makes the widget begin anew even if all else is equal."""
    return json.dumps(
        {
            "dataset": dataset,
            "threshold": threshold,
            "queue": [{"row": item.row_id, "why": item.why, "score": item.score} for item in queue],
            "progress": progress,
            "recent": recent,
            "start": start,
            "turn": turn,
        },
        allow_nan=False,
    )
