"""Training curves that follow a run: the browser asks for new points only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.events import answer
from ui.widgets import source

COLUMNS = ("step", "steps", "loss", "task", "alignment", "lr", "grad_norm", "grad_cosine", "tokens_per_second")
MOST_POINTS = 4000
"""Points sent at once; a longer log is thinned evenly, since a screen shows no more."""


@dataclass(frozen=True)
class CurvePage:
    """Log lines after an offset; `live` says that more may come."""

    rows: Sequence[dict[str, Any]]
    offset: int
    live: bool
    state: str
    restart: bool = False


def live_curves(fetch: Callable[[str, int], CurvePage], *, empty: str, elem_id: str = "live-curves") -> gr.HTML:
    """`fetch(run, offset)` reads the log; the value chooses the run: `{"run": id, "title": text}`."""

    @answer
    def srv_curves(request: dict[str, Any]) -> dict[str, Any]:
        page = fetch(str(request["run"]), max(0, int(request.get("offset", 0))))
        return {"points": columns(page.rows), "offset": page.offset, "live": page.live, "state": page.state, "restart": page.restart}

    return gr.HTML(
        {"run": None, "title": "", "empty": empty},
        html_template=source("live_curves.html"),
        css_template=source("live_curves.css"),
        js_on_load="\n".join(source(name) for name in ("dom.js", "curve_math.js", "live_curves.js")),
        server_functions=[srv_curves],
        apply_default_css=False,
        elem_classes=["rs-widget"],
        elem_id=elem_id,
    )


def columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[float | None]]:
    """Log lines as one list per column; a value that was not logged is None."""
    steps = [row for row in rows if isinstance(row.get("step"), (int, float))]
    stride = -(-len(steps) // MOST_POINTS) or 1
    kept = steps[::stride]
    if stride > 1 and kept[-1] is not steps[-1]:
        kept.append(steps[-1])
    return {name: [_number(row.get(name)) for row in kept] for name in COLUMNS}


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
