"""The run that trains, or one that has trained: numbers, curves, sample answers, log. The browser asks for what is new only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from ui import vendor
from ui.events import answer
from ui.widgets import widget

COLUMNS = ("step", "steps", "loss", "task", "alignment", "lr", "grad_norm", "grad_cosine", "tokens_per_second", "memory_mb")
MOST_POINTS = 4000
"""Points sent at once; a longer log is thinned evenly, since a screen shows no more."""

LIVE = "live"
"""Asks for whatever runs now, or the newest run when nothing does."""


@dataclass(frozen=True)
class LivePage:
    """What is new after an offset of one job or run (`subject`, "" if there is none); `live` says that more may come.

    `quick`: scores on a few prompts along training, each {step, seconds, hs, over_refusal, fa}, a score being [value, low, high, n].
    `answers`: the newest sample answers, cleaned. `facts`: what stands beside the numbers, as [name, text]. `anew`: a training began
    within these rows, so that what was drawn before is of another one.
    """

    subject: str
    title: str
    state: str
    rows: Sequence[dict[str, Any]]
    offset: int
    live: bool
    facts: Sequence[tuple[str, str]] = ()
    quick: Sequence[dict[str, Any]] = ()
    answers: Sequence[dict[str, Any]] = ()
    anew: bool = False
    has_log: bool = False


NOTHING = LivePage("", "", "", [], 0, False)


@dataclass(frozen=True)
class LiveSources:
    """Where the card reads: a page of news, what may be looked at, and the end of a log.

    `page(run, subject, offset)` reads the log of `run` (an id or `LIVE`); `offset` holds for `subject`, which was drawn so far.
    """

    page: Callable[[str, str, int], LivePage]
    choices: Callable[[], list[tuple[str, str, bool]]]
    log: Callable[[str], str]


def live_run(sources: LiveSources, *, empty: str, elem_id: str = "live-run") -> gr.HTML:
    """The card. Its value chooses the run: `{"run": id, "empty": text}`."""

    @answer
    def srv_live(request: dict[str, Any]) -> dict[str, Any]:
        page = sources.page(str(request["run"]), str(request.get("subject") or ""), max(0, int(request.get("offset") or 0)))
        shown = asdict(page)
        return {**shown, "points": columns(shown.pop("rows")), "choices": sources.choices() if request.get("choices") else None}

    @answer
    def srv_log(request: dict[str, Any]) -> dict[str, Any]:
        return {"text": sources.log(str(request["subject"]))}

    return widget(
        "live_run",
        {"run": LIVE, "empty": empty},
        scripts=("dom", "curve_math", "curve_panels", "live_answers"),
        server_functions=[srv_live, srv_log],
        elem_id=elem_id,
        head=vendor.UPLOT,
    )


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
