"""Runs as lines of the tables of Train and Compare: title, numbers with intervals, links."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from reft_studio.studio.past_runs import FELL, STATES
from ui.shared.marks import mark_of
from ui.text import ago, count, number, seconds, show

if TYPE_CHECKING:
    from reft_studio.stats import Estimate
    from reft_studio.studio.comparison import RunRow
    from reft_studio.studio.past_runs import PastRun
    from reft_studio.studio.run_curves import Curve

CHAT_BESIDE = "base--lab"
KINDS = {"training": "accent", "evaluating": "accent", "preparing": "accent", "finished": "done", "saved": "done", "failed": "flag"}
"""The colour of a state; one that is not named is a plain one, or `warn` where something is to be done."""
WIDTH, HEIGHT, EDGE = 88, 22, 2
"""Of the small picture of a curve, in pixels; the edge keeps the line inside of it."""


def interval(estimate: Estimate | None) -> dict[str, float | int] | None:
    """An estimate as the table draws it, in percent."""
    if estimate is None:
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def past_run(run: PastRun) -> dict[str, Any]:
    """A line of the Train page."""
    parts = [run.dataset_name, "" if run.rows is None else f"{count(run.kept)} of {count(run.rows)} rows"]
    parts += ["example"] if run.example else []
    memory = "" if run.memory_mb is None else f"{count(run.memory_mb)} MB"
    words = (run.title, run.method, run.dataset_name, run.run_id, STATES[run.state], run.message, run.note.note, *run.note.tags)
    return {
        **_line(run.run_id, run.title, run.method, run.created),
        "was": run.was,
        "name": show(run.note.name, 100),
        "generated": show(run.generated, 160),
        "tags": [show(tag, 40) for tag in run.note.tags],
        "note": show(run.note.note),
        "sub": show("; ".join(filter(None, parts)), 200),
        "state": STATES[run.state],
        "kind": KINDS.get(run.state, "warn"),
        "progress": show(run.progress, 60),
        "message": show(run.message, 600),
        "curve": curve(run.curve, run.planned_steps),
        "seconds": run.seconds,
        "took": seconds(run.seconds),
        "memory": memory,
        "cost": show(run.cost, 300),
        "links": _links(run),
        "goes_on": run.state in (*FELL, "paused", "left"),
        "live": run.state in ("queued", "preparing", "training", "evaluating"),
        "words": show(" ".join(words), 4000).casefold(),
        **{name: interval(estimate) for name, estimate in (("hs", run.hs), ("fa", run.fa), ("over", run.over_refusal))},
    }


@lru_cache(maxsize=1024)
def curve(points: Curve, planned: int | None) -> dict[str, Any] | None:
    """The line of an SVG picture through the task loss, its last value, and both in words; None without a point.

    Its width stands for all steps that are planned: the line of a run in training ends where the run is.
    """
    if not points:
        return None
    steps = max(points[-1][0], planned or 0, 1)
    low, high = min(loss for _, loss in points), max(loss for _, loss in points)
    span = (high - low) or 1.0

    def at(step: int, loss: float) -> str:
        x, y = EDGE + (WIDTH - 2 * EDGE) * step / steps, EDGE + (HEIGHT - 2 * EDGE) * (high - loss) / span
        return f"{x:.1f} {y:.1f}"

    path = "M" + "L".join(at(step, loss) for step, loss in points) + ("h.1" if len(points) == 1 else "")
    first, last = points[0][1], points[-1][1]
    words = f"Task loss {number(first)} at first, {number(last)} after {count(points[-1][0])} steps"
    return {"path": path, "last": number(last), "value": last, "words": words}


def compared_run(row: RunRow, *, off: str = "") -> dict[str, Any]:
    """A line of the Compare page; `off` says why it cannot stand beside the others."""
    share = "" if row.poison_ratio is None else f"{100 * row.poison_ratio:g} % poison"
    parts = [part for part in (share, row.task) if part]
    line = _line(row.run_id, row.title, row.method, row.created)
    links = [["Chat", f"/chat?models={CHAT_BESIDE},{row.run_id}" if row.run_id != CHAT_BESIDE else f"/chat?models={row.run_id}"]]
    return {**line, **_numbers(row), "sub": show(", ".join(parts), 160), "off": show(off, 200), "links": links}


def _links(run: PastRun) -> list[list[str]]:
    found = [["Chat", f"/chat?models={CHAT_BESIDE},{run.run_id}"]] if run.is_finished else []
    found += [["Compare", f"/compare?runs={run.run_id}"]] if run.hs else []
    again = f"/train?like={run.run_id}" if run.is_finished else f"/train?job={run.job}" if run.job else ""
    return [*found, *([["Duplicate with a change", again]] if again else [])]


def _line(run_id: str, title: str, method: str, created: str) -> dict[str, Any]:
    mark = mark_of(method)
    return {
        "id": run_id,
        "title": show(title, 160),
        "colour": mark.colour,
        "shape": mark.shape,
        "when": ago(created),
        "time": datetime.fromisoformat(created).timestamp() if created else 0,
    }


def _numbers(row: RunRow) -> dict[str, Any]:
    shares = {"hs": row.hs, "not_refused": row.not_refused, "refused": row.refused, "other": row.other}
    shares |= {"fa": row.fa, "fa_lenient": row.fa_lenient, "over": row.over_refusal}
    return {name: interval(estimate) for name, estimate in shares.items()}
