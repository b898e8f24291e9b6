"""The job panel: what runs, what waits, what went wrong, and the buttons that go with it. Used on every page that starts long work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.jobs.view import trains
from reft_studio.studio.project import chosen_dataset, concerns
from ui.events import SLOW, answer, guarded
from ui.text import count, seconds, show
from ui.widgets import widget

if TYPE_CHECKING:
    from reft_studio.jobs.view import JobView
    from reft_studio.studio.studio import Studio

LISTED = 60
"""Jobs read from the queue at each poll, newest first; older ones are history, not news."""
RECENT_S = 3600.0
FINISHED_SHOWN = 3
EACH = {**SLOW, "trigger_mode": "multiple"}
"""Every click counts, also one on another job while the first is being handled."""
LIVE = ("queued", "running", "paused")
KEEPING = ("run", "teacher", "quick_teacher", "score", "evaluate", "regrade", "demo", "sweep")
"""Kinds that keep what they did, so that another attempt goes on from there."""
FORGETTING = ("run", "teacher")
"""Of these, kinds whose next attempt can be told to forget it."""
WHOLE = ("demo", "sweep")
"""Kinds whose progress counts the whole job in thousandths, not the stage in rows or steps."""
COUNTS = {"sweep": "Run"}
"""What a stage is called, where it is more than a stage."""
MAKES_DATA = ("mix",)
"""Kinds that name a dataset only to make another of it: they belong to whichever is in work, as imports do."""
BADGES = {
    "running": "Running",
    "paused": "Paused",
    "done": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "interrupted": "Interrupted",
}
WAITS = {"disk": "Waits for the disk", "device": "Waits for the device"}


def job_panel(
    studio: Studio,
    kinds: Sequence[str],
    *,
    of_chosen: bool = False,
    on_done: Callable[[str], Any] | None = None,
    outputs: Any = None,
    empty: str = "",
    elem_id: str | None = None,
) -> gr.HTML:
    """Draw a panel of the jobs of these kinds; it refreshes itself and needs no timer. `of_chosen`: see `listing`.

    `on_done(job_id)` runs once when a job that this page saw alive has ended (done, failed, cancelled or interrupted); what it
    returns goes to `outputs`. The component's events are "act" and "done", so `panel.done(fn, …)` adds more listeners.
    """

    @answer
    def srv_jobs(query: dict[str, Any]) -> dict[str, Any]:
        return {"jobs": listing(studio, kinds, of_chosen=of_chosen), "after_failure": studio.jobs.after_failure}

    panel = widget("job_panel", server_functions=[srv_jobs], elem_id=elem_id or f"jobs-{'-'.join(kinds)}", empty=empty)

    def act(event: gr.EventData) -> None:
        act_on(studio, str(event.id), str(event.act))

    panel.act(guarded(act), None, None, **EACH)
    if on_done is not None:

        def done(event: gr.EventData) -> Any:
            return on_done(str(event.id))

        panel.done(guarded(done), None, outputs, **EACH)
    return panel


def act_on(studio: Studio, job_id: str, action: str) -> None:
    """Do what a button of the panel says; an action the panel does not have is ignored."""
    queue = studio.jobs
    if action in ("up", "down"):
        queue.move(job_id, action)
    elif action in ("go on", "hold"):
        queue.set_after_failure(action)
    else:
        steps: dict[str, Callable[[str], None]] = {
            "cancel": queue.cancel,
            "pause": queue.pause,
            "resume": queue.resume,
            "first": queue.first,
            "stop": queue.stop_and_save,
            "retry": queue.retry,
            "anew": lambda name: queue.retry(name, anew=True),
        }
        if step := steps.get(action):
            step(job_id)


def listing(studio: Studio, kinds: Sequence[str], *, of_chosen: bool = False) -> list[dict[str, Any]]:
    """What the panel draws: running first, then the queue in order, what is paused, and what ended within the hour, at most three.

    `of_chosen` leaves out jobs of other datasets than the one in work. They follow all the same, with `shown` false: whoever made
    another dataset by a job, and so works on that one now, is told of the job's end.
    """
    views = [view for view in studio.jobs.list(LISTED) if view.kind in kinds]
    dataset = chosen_dataset(studio.workspace) if of_chosen and views else None
    now = time.time()
    groups = [(shown, [view for view in views if (view.kind in MAKES_DATA or concerns(view, dataset)) is shown]) for shown in (True, False)]
    return [{**card(view), "shown": shown} for shown, group in groups for view in arranged(group, now=now)]


def arranged(views: Sequence[JobView], *, now: float) -> list[JobView]:
    """Running, queued by position, paused, recently finished (newest first, at most `FINISHED_SHOWN`)."""
    running, paused = ([view for view in views if view.state == state] for state in ("running", "paused"))
    queued = sorted((view for view in views if view.state == "queued"), key=lambda view: view.position or 0)
    ended = [view for view in views if view.state not in LIVE and view.finished is not None and now - view.finished < RECENT_S]
    ended.sort(key=lambda view: view.finished or 0, reverse=True)
    return [*running, *queued, *paused, *ended[:FINISHED_SHOWN]]


def card(view: JobView) -> dict[str, Any]:
    """One job as the panel draws it; all text is cleaned here."""
    stages = 1 if view.kind in WHOLE else max(view.stage_count, 1)
    return {
        "id": view.id,
        "kind": view.kind,
        "state": view.state,
        "title": show(view.title, 200),
        "badge": badge(view),
        "stage": min(max(view.stage_index, 1), stages) if view.state == "running" else 0,
        "stages": stages,
        "stage_text": stage_text(view),
        "share": share(view),
        "left": amount(view),
        "right": remaining(view),
        "message": show(view.message, 2000) if view.message else "",
        "actions": actions(view),
        "waits": view.waits in WAITS,
        "keeps": view.kind in KEEPING,
        "again": f"/train?job={view.id}" if view.kind == "run" else "",
    }


def badge(view: JobView) -> str:
    """`Running`, `Queued, number 2`, `Waits for the disk`, `Done in 42 s`."""
    if view.waits in WAITS:
        return WAITS[view.waits]
    if view.state == "queued":
        return f"Queued, number {view.position}" if view.position else "Queued"
    name = BADGES[view.state]
    ended = view.started is not None and view.finished is not None and view.state in ("done", "failed")
    return f"{name} {'in' if view.state == 'done' else 'after'} {seconds((view.finished or 0) - (view.started or 0))}" if ended else name


def stage_text(view: JobView) -> str:
    """`Stage 2 of 5: scoring rows`, or nothing when the job is not running."""
    if view.state != "running" or view.waits or not view.stage:
        return "" if view.state != "running" or view.waits else "Starting"
    name = show(view.stage, 120)
    return name if view.stage_count < 2 else f"{COUNTS.get(view.kind, 'Stage')} {view.stage_index} of {view.stage_count}: {name}"


def share(view: JobView) -> float | None:
    """How much of the current stage is done, 0 to 1; None while the total is not known."""
    return min(view.done / view.total, 1.0) if view.total else None


def amount(view: JobView) -> str:
    """`1,240 of 5,000, 412 per second`, or `68 % of the whole`; of a paused job how far it came."""
    if view.state not in ("running", "paused") or not view.total:
        return ""
    if view.kind in WHOLE:
        return f"{100 * view.done // view.total} % of the whole"
    text = f"{count(view.done)} of {count(view.total)}"
    return f"{text}, {view.rate:,.{0 if view.rate >= 10 else 1}f} per second" if view.rate else text


def remaining(view: JobView) -> str:
    """Time left (only once the estimate is stable) and time spent."""
    if view.state != "running" or view.started is None:
        return ""
    spent = f"{seconds(time.time() - view.started)} so far"
    return spent if view.eta_s is None else f"about {seconds(view.eta_s)} left, {spent}"


def actions(view: JobView) -> list[str]:
    """The buttons a job offers in its state."""
    if view.state == "queued":
        return ["first", "up", "down", "pause", "cancel"]
    if view.state == "running":
        may_stop = view.kind == "run" and trains(view.stage) and not view.asked
        return ["cancel"] if view.asked else [*(["stop"] if may_stop else []), "pause", "cancel"]
    if view.state == "paused":
        return ["resume", "cancel"]
    if view.state == "done":
        return ["dismiss"]
    return ["retry", *(["anew"] if view.kind in FORGETTING else []), "dismiss"]
