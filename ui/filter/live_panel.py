"""The strip that says how far scoring is and what the scores in use are worth until then, with stop and go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.events import FAST, answer, guarded, on, said
from ui.text import count, seconds, show
from ui.widgets import widget

if TYPE_CHECKING:
    from reft_studio.jobs.view import JobView
    from reft_studio.studio.project import State
    from reft_studio.studio.scores import ScoreSet
    from reft_studio.studio.scoring import LiveScores
    from reft_studio.studio.studio import Studio

ORDER = "The rows whose words look most harmful come first. Estimates follow once all are scored."


def draw_live(studio: Studio) -> gr.HTML:
    """Hidden until it has a `live_value` and something to say. Give it to `wire_live` too.

    Events: "act" {act, dataset, job, scorer}; "moved", there are more scores; "replaced", others are in use.
    """

    @answer
    def srv_live(request: dict[str, Any]) -> dict[str, Any]:
        return {"now": strip(studio.scoring.now(str(request["dataset"])))}

    return widget("live_scores", scripts=("dom",), server_functions=[srv_live], elem_id="live-scores")


def live_value(state: State) -> str:
    """Which dataset's scoring is followed."""
    return json.dumps({"dataset": state.dataset.id}) if state.dataset else ""


def wire_live(studio: Studio, strip: gr.HTML, *, moving: Sequence[gr.HTML], values: Callable[[], Any], line: gr.HTML) -> None:
    """`values()` are those of the panels in `moving`, for the scores that there are now."""

    def act(event: gr.EventData) -> dict[str, str]:
        if event.act == "stop":
            studio.jobs.cancel(str(event.job))
            return said("Stopping. What is scored stays, and scoring can go on from there.", "note")
        studio.scoring.start(str(event.dataset), str(event.scorer))
        return said("Scoring is queued. The page fills as the scores come.", "note")

    on(strip.act, act, line=line, refresh=True, **FAST)
    strip.moved(guarded(values), None, list(moving), **FAST)


def strip(found: LiveScores) -> dict[str, Any]:
    """What the strip shows: `text` (empty: nothing), `detail`, `share` done (None: no bar), one button, and which scores are in use."""
    score, job = found.score, found.job
    shown = {
        "key": None if score is None else score.key,
        "stamp": None if score is None else score.folder.name,
        "running": job is not None,
        "job": None if job is None else job.id,
        "scorer": found.offer.id if found.offer else None if score is None else score.teacher,
        "share": None if score is None or score.finished else score.reached / score.rows,
    }
    if job is not None:
        return {**shown, **_running(found.scorer, score, job), "act": "stop", "action": "Stop"}
    if score is not None and not score.finished:
        text = f"Stopped at {_rows(score)}."
        return {**shown, "text": text, "detail": ORDER, "act": "go_on", "action": "Go on"}
    if found.offer is not None:
        text, action = "First scores, by words.", f"Score with {show(found.offer.title, 40)}"
        return {**shown, "text": text, "detail": f"They miss: {_lower(found.misses)}", "act": "score", "action": action}
    return {**shown, "text": "", "detail": "", "act": "", "action": ""}


def _running(scorer: str, score: ScoreSet | None, job: JobView) -> dict[str, str]:
    name = show(scorer, 60)
    if score is None or score.finished:
        waiting = "waits for its turn" if job.state == "queued" else "is starting"
        until = "" if score is None else " Until its first scores are there, these stay in use."
        return {"text": f"{name} {waiting}.", "detail": until.strip()}
    if job.state == "queued":
        return {"text": f"{_rows(score)}; {name} waits for its turn.", "detail": ORDER}
    pace = [f"{job.rate:,.{0 if job.rate >= 10 else 1}f} rows per second"] if job.rate else []
    left = [f"about {seconds(job.eta_s)} left"] if job.eta_s is not None else []
    told = ", ".join([*pace, *left])
    return {"text": f"{_rows(score)}, by {name}.", "detail": f"{told[:1].upper()}{told[1:]}. {ORDER}" if told else ORDER}


def _rows(score: ScoreSet) -> str:
    return f"{count(score.reached)} of {count(score.rows)} rows scored"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
