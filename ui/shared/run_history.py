"""All runs on the Train page: to search, sort, name, tag, annotate, compare setting by setting, go on with and delete."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.errors import SpecError
from reft_studio.fingerprint import of_value
from ui.events import FAST, answer, message_for, on
from ui.shared.live_run import LIVE
from ui.shared.marks import mark_of
from ui.shared.run_rows import past_run
from ui.text import counted, show
from ui.widgets import widget

if TYPE_CHECKING:
    from reft_studio.studio.past_runs import PastRun
    from reft_studio.studio.studio import Studio

MOST_COMPARED = 6
"""Runs whose settings stand side by side."""
EMPTY = {"title": "No run yet", "text": "Choose methods above and press “Run now”. Every run stays here, also one that failed."}
FIELDS = ("name", "tags", "note")


def draw_run_history(studio: Studio) -> gr.HTML:
    """The table. Its events: "pick" {run}, "say" {run, field, value}, "go_on" {run}, "remove" {run}; give it to `wire_run_history` too."""

    @answer
    def srv_runs(request: dict[str, Any]) -> dict[str, Any]:
        return history_value(studio, str(request.get("stamp") or ""))

    @answer
    def srv_settings(request: dict[str, Any]) -> dict[str, Any]:
        return settings_value(studio, [str(run) for run in request.get("runs") or []])

    @answer
    def srv_deletion(request: dict[str, Any]) -> dict[str, Any]:
        plan = studio.runs.deletion(str(request["run"]))
        return {"question": show(plan.sentence, 600), "held": show(plan.held, 600)}

    return widget(
        "run_history",
        scripts=("dom", "marks", "setting_rows", "run_details"),
        styles=("setting_rows", "run_details"),
        server_functions=[srv_runs, srv_settings, srv_deletion],
        elem_id="train-runs",
        most=MOST_COMPARED,
    )


def wire_run_history(studio: Studio, runs: gr.HTML, *, live: gr.HTML, jobs: gr.HTML, no_curve: str) -> None:
    """What is picked is drawn in the card `live`; a job of the panel `jobs` that ends makes the table look again."""

    def pick(event: gr.EventData) -> dict[str, Any]:
        return {"run": str(event.run), "empty": no_curve}

    def say(event: gr.EventData) -> dict[str, Any]:
        return _done(str(event.run), lambda: said_of(studio, str(event.run), str(event.field), event.value))

    def go_on(event: gr.EventData) -> dict[str, Any]:
        def queue() -> str:
            studio.runs.go_on(str(event.run))
            return "It is queued, and goes on from what it kept."

        return _done(str(event.run), queue)

    def remove(event: gr.EventData) -> tuple[Any, Any]:
        told = _done(str(event.run), lambda: f"{show(studio.runs.delete(str(event.run)).title, 100)} is deleted.")
        return {**told, "gone": not told["error"]}, gr.update() if told["error"] else {"run": LIVE, "empty": no_curve}

    on(runs.pick, pick, outputs=[live], **{**FAST, "trigger_mode": "multiple"})
    on(runs.say, say, outputs=[runs], refresh=True, **FAST)
    on(runs.go_on, go_on, outputs=[runs], refresh=True, **FAST)
    on(runs.remove, remove, outputs=[runs, live], refresh=True, **FAST)
    on(jobs.done, lambda: {"turn": time.time()}, outputs=[runs], refresh=True, **FAST)


def history_value(studio: Studio, stamp: str = "") -> dict[str, Any]:
    """All runs, in the order in which they stand at first; without them if they are those of `stamp`, which an earlier answer gave."""
    rows = [past_run(run) for run in studio.runs.every()]
    now = of_value(rows)
    return {"stamp": now, "rows": None if now == stamp else rows, "empty": EMPTY}


def settings_value(studio: Studio, runs: Sequence[str], known: Mapping[str, PastRun] | None = None) -> dict[str, Any]:
    """A table of the settings in which runs differ: a column for each run, in the order given."""
    if len(runs) > MOST_COMPARED:
        raise SpecError(f"{counted(len(runs), 'run')} are too many for one table. Choose at most {MOST_COMPARED}.")
    every = known or {run.run_id: run for run in studio.runs.every()}
    found = [every[run] for run in runs if run in every]
    differing = studio.runs.differences(*(run.run_id for run in found)) if len(found) > 1 else []
    return {
        "columns": [{"title": show(run.title, 160), **mark_of(run.method)._asdict()} for run in found],
        "rows": [{"label": show(one.label, 80), "values": [show(value, 80) for value in one.values]} for one in differing],
        "empty": "" if len(found) < 2 or differing else "They have the same settings, to the last one.",
    }


def said_of(studio: Studio, run: str, field: str, value: Any) -> str:
    """Keep what a person said of a run; returns what happened. Raises SpecError for a name that is taken or text that is too long."""
    if field not in FIELDS:
        raise SpecError(f"There is nothing called '{show(field, 20)}' to say of a run.")
    given: Any = [str(tag) for tag in value or []] if field == "tags" else str(value or "")
    studio.runs.say(run, by=str(studio.settings.get("reviewer", "") or ""), **{field: given})
    return "The generated name is back." if field == "name" and not str(given).strip() else "Saved."


def _done(run: str, work: Callable[[], str]) -> dict[str, Any]:
    """What became of an action on a run, as its widget hears it."""
    try:
        return {"turn": time.time(), "run": run, "done": work(), "error": ""}
    except Exception as exc:  # told beside the field, where the person looks
        return {"turn": time.time(), "run": run, "done": "", "error": message_for(exc)}
