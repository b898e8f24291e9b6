"""A table of runs with intervals, of which several are ticked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from ui.events import answer
from ui.widgets import widget


def run_table(fetch: Callable[[list[str]], dict[str, Any]], *, elem_id: str) -> gr.HTML:
    """`fetch(asked)` gives `{"rows", "chosen", "empty"}`; `asked` are the run ids of the page's address.

    Event "pick" carries `runs`, `dark` and whether a person picked `by_hand`. A new value (any) makes the table fetch again;
    `{"anew": …}` takes back what was picked.
    """

    @answer
    def srv_runs(request: dict[str, Any]) -> dict[str, Any]:
        return fetch([str(run) for run in request.get("asked") or []])

    return widget("run_table", scripts=("dom", "marks"), server_functions=[srv_runs], elem_id=elem_id)
