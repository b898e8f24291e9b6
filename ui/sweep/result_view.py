"""What a sweep found, as the page shows it: the table with its files, the chart, and the sweeps of the workspace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

import gradio as gr

from reft_studio.stats import Estimate
from reft_studio.sweeps import table as sweep_table
from ui.events import answer
from ui.shared.chart_box import chart_value
from ui.shared.marks import mark_of
from ui.tables import Column, table_value
from ui.text import ago, count, counted, show
from ui.widgets import widget

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio
    from reft_studio.studio.sweeps import PastSweep, Result, Started
    from reft_studio.sweeps.table import VariantResult

PAST = (
    Column("name", "Sweep"),
    Column("state", "State", "badge"),
    Column("runs", "Runs done", "num"),
    Column("failed", "Failed", "num"),
    Column("changed", "Worked on"),
)
NOTES = {
    "hs": "lower is better",
    "over_refusal": "lower is better",
    "fa": "higher is better",
    "avoided_per_minute": "points",
    "fa_per_minute": "points",
}
HIDDEN = ("passes", "tflop", "fa_per_minute", "memory_mb")
"""Columns that are shown only if somebody asks for them."""
MOST_ROWS = 500
ENDINGS = {"csv": "CSV", "tex": "LaTeX", "md": "Markdown"}
EMPTY = {
    "title": "No sweep yet",
    "text": "A sweep trains and evaluates every combination of what a recipe lists: methods, filters, strengths, shares of poison, seeds. "
    "All runs of a setting see the same user data in the same order, so the table says which method helps, how sure that is, and what it "
    "costs. Choose a recipe above and start it; it may take its time, stop and go on, and what is done is never done twice.",
}


def result_table(studio: Studio) -> gr.HTML:
    """The widget; its value {id} names the sweep. Event "drawn" carries {id, words, dark} whenever the chart is another."""

    @answer
    def srv_sweep(request: dict[str, Any]) -> dict[str, Any]:
        return result_value(studio, str(request.get("id") or ""), str(request.get("words") or "")[:200])

    @answer
    def srv_sweep_file(request: dict[str, Any]) -> dict[str, Any]:
        columns = [str(name) for name in request.get("columns") or []]
        words = str(request.get("words") or "")[:200]
        return {"text": studio.sweeps.export(str(request["id"]), str(request["kind"]), words=words, columns=columns)}

    files = [[kind, title] for kind, title in ENDINGS.items()]
    scripts = ("dom", "marks", "url")
    functions = [srv_sweep, srv_sweep_file]
    return widget(
        "sweep_result",
        None,
        scripts=scripts,
        server_functions=functions,
        elem_id="sweep-result",
        files=files,
        hidden_columns=list(HIDDEN),
    )


def result_value(studio: Studio, sweep: str, words: str) -> dict[str, Any]:
    """All that the widget draws."""
    if not sweep:
        return {"empty": EMPTY}
    found = studio.sweeps.result(sweep, words=words)
    names = sweep_table.settings(found.table)
    return {
        "id": sweep,
        "name": show(found.spec.name, 80),
        "summary": summary(found),
        "live": found.job is not None,
        "done": found.done,
        "settings": [name.replace("poison_ratio", "poison").replace("_", " ") for name in names],
        "columns": [{"key": key, "title": sweep_table.HEADS[key], "note": NOTES.get(key, "")} for key in found.columns],
        "rows": rows(found.table[:MOST_ROWS], names),
        "cut": f"{count(len(found.table) - MOST_ROWS)} more lines are in the files." if len(found.table) > MOST_ROWS else "",
        "failures": [show(text, 400) for text in sweep_table.failures(found.table)],
        "note": sweep_table.NOTE,
        "withheld": found.withheld,
    }


def summary(found: Result) -> str:
    """How far it is: `12 of 45 runs done, 1 failed. 3 of 15 lines shown`."""
    text = f"{count(found.done)} of {counted(found.runs, 'run')} done"
    text += f", {count(found.failed)} failed" if found.failed else ""
    filtered = f" {count(len(found.table))} of {counted(found.every, 'line')} shown." if len(found.table) != found.every else ""
    state = {"queued": " It waits in the queue.", "running": " It is at work.", "paused": " It is paused."}
    return f"{text}.{state[found.job.state] if found.job else ''}{filtered}"


def rows(lines: Sequence[VariantResult], names: Sequence[str]) -> list[dict[str, Any]]:
    """Lines of the table, with the mark of the method: an outline for every second variant of it, as in the chart."""
    seen: dict[str, list[str]] = {}
    found = []
    for line in lines:
        variant = str(line.setting["variant"])
        known = seen.setdefault(line.method, [])
        known += [] if variant in known else [variant]
        look = mark_of(line.method)
        outlined = known.index(variant) % 2 == 1 and not look.shape.endswith("-open")
        found.append(
            {
                "title": show(variant, 120),
                "colour": look.colour,
                "shape": f"{look.shape}-open" if outlined else look.shape,
                "where": [_setting(line, name) for name in names],
                "seeds": f"{line.seeds} of {line.planned}",
                "waits": not line.seeds and not line.failed,
                "failed": len(line.failed) > 0,
                "cells": {name: cell(one) for name, one in line.values.items()},
                "href": compare_link(line),
            }
        )
    return found


def _setting(line: VariantResult, name: str) -> str:
    value = line.setting[name]
    return f"{100 * value:g} %" if name == "poison_ratio" else show(value, 60)


def cell(one: Estimate) -> dict[str, Any]:
    """A number as the table shows it: value, interval, and what it rests on."""
    if one.unit == "%":
        return {"value": f"{one.value:.1f} %", "range": f"{one.low:.1f} to {one.high:.1f}", "hint": f"n = {one.n}; {one.method}"}
    spread = one.n > 1 and one.unit == sweep_table.PER_MINUTE
    value, ends = f"{one.value:,.3g}", f"{one.low:.3g} to {one.high:.3g}" if spread else ""
    return {"value": value, "range": ends, "hint": f"{counted(one.n, 'seed')}"}


def compare_link(line: VariantResult) -> str:
    """The runs of a line, beside those of plain SFT at the same setting, on the Compare page; empty while none is there."""
    runs = list(dict.fromkeys([*line.plain, *line.runs]))
    return f"/compare?runs={quote(','.join(runs))}" if line.runs else ""


def chart_values(studio: Studio, asked: dict[str, Any], place: str | None) -> list[Any]:
    """Values of the choice of place and of the chart."""
    from reft_studio.studio import sweep_chart

    if not asked.get("id"):
        return [gr.update(visible=False), *chart_value(None, [], name="sweep")]
    table = studio.sweeps.result(asked["id"], words=asked["words"]).table
    offered = sweep_chart.places(table)
    at = place if place in offered else next(iter(offered), None)
    figure, numbers = sweep_chart.chart(table, at, dark=asked["dark"])
    choice = gr.update(choices=[(show(one, 80), one) for one in offered], value=at, visible=len(offered) > 1)
    return [choice, *chart_value(figure, numbers, name="sweep")]


def past_value(studio: Studio, selected: str) -> dict[str, Any]:
    """The sweeps of the workspace, with the one that is shown."""
    return table_value([past_row(one) for one in studio.sweeps.past()], selected=selected)


def past_row(one: PastSweep) -> dict[str, Any]:
    """A line of the list."""
    runs = "–" if one.why else f"{count(one.done)} of {count(one.runs)}"
    return {
        "id": one.id,
        "name": one.name,
        "state": state(one),
        "runs": runs,
        "failed": count(one.failed) if one.failed else "",
        "changed": ago(one.changed),
    }


def state(one: PastSweep) -> tuple[str, str]:
    """How it stands, and how that is coloured."""
    if one.why:
        return "Cannot be read", "flag"
    if one.job is not None:
        return {"queued": ("Waits", ""), "running": ("At work", "accent"), "paused": ("Paused", "warn")}[one.job.state]
    if one.done == one.runs:
        return "Done", "done"
    return ("Ended, some failed", "flag") if one.done + one.failed == one.runs else ("Stopped", "warn")


def first(studio: Studio, search: str) -> str:
    """The sweep that the page opens on: the one of the address, else the one worked on last; empty if there is none."""
    asked = parse_qs(search.removeprefix("?")).get("sweep", [""])[0]
    readable = [one.id for one in studio.sweeps.past() if not one.why]
    return asked if asked in readable else next(iter(readable), "")


def text_of(studio: Studio, sweep: str) -> str:
    """The recipe that the page opens with."""
    return studio.sweeps.text(sweep) if sweep else studio.sweeps.own_recipe


def started(found: Started) -> str:
    """What pressing the button did."""
    if found.job is None:
        return "All runs of this recipe are on record, so nothing was queued. Its table is below."
    return "The sweep is queued. Its table below fills while it works; this page may be closed."
