"""Training curves that follow a run: the browser asks for new points only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.events import answer
from ui.widgets import widget

COLUMNS = ("step", "steps", "loss", "task", "alignment", "lr", "grad_norm", "grad_cosine", "tokens_per_second", "memory_mb")
MOST_POINTS = 4000
"""Points sent at once; a longer log is thinned evenly, since a screen shows no more."""


LIVE = "live"
"""Asks for whatever runs now, or the newest run when nothing does."""


@dataclass(frozen=True)
class CurvePage:
    """Log lines after an offset of one job or run (`subject`, "" if there is none); `live` says that more may come."""

    subject: str
    title: str
    state: str
    rows: Sequence[dict[str, Any]]
    offset: int
    live: bool


NOTHING = CurvePage("", "", "", [], 0, False)


def live_curves(fetch: Callable[[str, str, int], CurvePage], *, empty: str, elem_id: str = "live-curves") -> gr.HTML:
    """`fetch(run, subject, offset)` reads the log of `run` (an id or `LIVE`); `offset` holds for `subject`, which was drawn so far.

    The value chooses the run: `{"run": id, "empty": text}`.
    """

    @answer
    def srv_curves(request: dict[str, Any]) -> dict[str, Any]:
        page = fetch(str(request["run"]), str(request.get("subject") or ""), max(0, int(request.get("offset") or 0)))
        shown = {"subject": page.subject, "title": page.title, "state": page.state, "offset": page.offset, "live": page.live}
        return {**shown, "points": columns(page.rows)}

    value = {"run": LIVE, "empty": empty}
    return widget("live_curves", value, scripts=("dom", "curve_math"), server_functions=[srv_curves], elem_id=elem_id)


def columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[float | None]]:
    """Log lines as one list per column; a value that was not logged is None."""
    steps = [row for row in rows if isinstance(row.get("step"), (int, float))]
    stride = -(-len(steps) // MOST_POINTS) or 1
    kept = steps[::stride]
    if stride > 1 and kept[-1] is not steps[-1]:
        kept.append(steps[-1])
    found = {name: [_number(row.get(name)) for row in kept] for name in COLUMNS}
    if kept and found["steps"][0] is None:
        found["steps"] = [_number(row.get("total")) for row in kept]
    return found


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
