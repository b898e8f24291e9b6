"""Runs as lines of the run table: title, numbers with intervals, links."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from ui.components.marks import mark_of
from ui.text import ago, count, seconds, show

if TYPE_CHECKING:
    from reft_studio.comparison.table import RunRow
    from reft_studio.stats import Estimate
    from reft_studio.views.runs import RunSummary

CHAT_BESIDE = "base--lab"


def interval(estimate: Estimate | None) -> dict[str, float | int] | None:
    """An estimate as the table draws it, in percent."""
    if estimate is None:
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def finished_run(run: RunSummary) -> dict[str, Any]:
    """A line of the Train page."""
    sub = f"{run.dataset_name}; {count(run.kept)} of {count(run.rows)} rows, {count(run.steps)} steps, {seconds(run.seconds)}"
    sub += f"; made with the lab on {run.example}" if run.example else ""
    links = [["Chat", f"/chat?models={CHAT_BESIDE},{run.run_id}"], *([["Compare", f"/compare?runs={run.run_id}"]] if run.hs else [])]
    line = _line(run.run_id, run.title, run.method, run.created)
    return {**line, **_numbers(run), "sub": show(sub, 200), "links": links}


def compared_run(row: RunRow, *, off: str = "") -> dict[str, Any]:
    """A line of the Compare page; `off` says why it cannot stand beside the others."""
    share = "" if row.poison_ratio is None else f"{100 * row.poison_ratio:g} % poison"
    parts = [part for part in (share, row.task) if part]
    line = _line(row.run_id, row.title, row.method, row.created)
    links = [["Chat", f"/chat?models={CHAT_BESIDE},{row.run_id}" if row.run_id != CHAT_BESIDE else f"/chat?models={row.run_id}"]]
    return {**line, **_numbers(row), "sub": show(", ".join(parts), 160), "off": show(off, 200), "links": links}


def _line(run_id: str, title: str, method: str, created: str) -> dict[str, Any]:
    mark = mark_of(method)
    return {
        "id": run_id,
        "title": show(title, 120),
        "colour": mark.colour,
        "shape": mark.shape,
        "when": ago(created),
        "time": datetime.fromisoformat(created).timestamp() if created else 0,
    }


def _numbers(run: RunSummary | RunRow) -> dict[str, Any]:
    shares = {"hs": run.hs, "not_refused": run.not_refused, "refused": run.refused, "other": run.other}
    shares |= {"fa": run.fa, "fa_lenient": run.fa_lenient, "over": run.over_refusal}
    return {name: interval(estimate) for name, estimate in shares.items()}
