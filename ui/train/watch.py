"""Where the card of a run in training reads: the events of a job, or the log of a finished run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.studio.training import EVENT, ROWS
from ui.events import FAST, on, on_load, status
from ui.shared.live_run import LIVE, NOTHING, LivePage, LiveSources
from ui.text import count, seconds, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reft_studio.jobs.view import JobView
    from reft_studio.studio.studio import Studio
    from reft_studio.studio.training import ReportTo

LISTED = 30
"""Finished runs that can be looked at from the card; any other is picked in the table."""
LOG_BYTES = 20_000
TEXT = 1200
"""Longest sample answer or prompt shown, in characters."""
EVERY = [("as often as is quick", "auto"), ("every 20 steps", "20"), ("every 100 steps", "100"), ("never", "off")]
"""How often a person may look, by name; the command line takes any number."""
_ENDED = {"queued": "Waits", "paused": "Paused", "failed": "Failed", "cancelled": "Stopped", "interrupted": "Interrupted"}
SETS = {"harmful": "Harmful prompt", "harmless": "Harmless prompt", "task": "Task"}
VERDICTS = {"refuse": "refused", "comply": "complied", "other": "neither"}


def draw_watch(studio: Studio) -> list[Any]:
    """How runs that are started from here on are looked at while they train; kept at once. Returns the events after which it is."""
    with gr.Accordion("While it trains", open=False, elem_id="train-watch"):
        text, to = studio.training.watch_text(), studio.training.report_to()
        known = [value for _, value in EVERY]
        looks = gr.Dropdown(
            [*EVERY, *([] if text in known else [(f"Every {text} steps", text)])],
            value=text,
            label="Look at its answers",
            info="On the first 16 prompts of each kind; the run stays the same.",
        )
        report = gr.Dropdown([("nobody else", "none"), ("Trackio", "trackio"), ("Weights & Biases", "wandb")], value=to, label="Also tell")
        told = status("train-watch-status")

    def keep(text: str, to: ReportTo) -> None:
        studio.training.save_watch(text, to)

    def stored() -> tuple[str, str]:
        return studio.training.watch_text(), studio.training.report_to()

    on_load(stored, outputs=[looks, report])
    return [on(field.input, keep, inputs=[looks, report], line=told, **FAST) for field in (looks, report)]


def sources(studio: Studio) -> LiveSources:
    """All that the card asks for."""
    return LiveSources(
        page=lambda run, subject, offset: live_page(studio, run, subject, offset),
        choices=lambda: choices(studio),
        log=lambda subject: log_tail(studio, subject),
    )


def live_page(studio: Studio, run: str, subject: str, offset: int) -> LivePage:
    """What is new of a run id, a job id, or (`LIVE`) of what trains now, else of the newest run."""
    job = next((job for job in studio.training.running() if run in (LIVE, job.id, job.run)), None)
    if job is not None:
        return _job_page(studio, job, offset if subject == job.id else 0)
    finished = studio.runs.finished()
    if run == LIVE:
        if not finished:
            return NOTHING
        run = finished[0].run_id
    if not any(one.run_id == run for one in finished):
        job = next((job for job in studio.jobs.unfinished("run") if run in (job.id, job.run)), None)
        return NOTHING if job is None else _job_page(studio, job, offset if subject == job.id else 0)
    return _run_page(studio, run, done=subject == run and offset > 0)


def choices(studio: Studio) -> list[tuple[str, str, bool]]:
    """What may be looked at: jobs that train, then finished runs, newest first, each with its id, title, and whether it is finished."""
    jobs = [(job.id, show(job.title, 80), False) for job in studio.training.running()]
    return [*jobs, *((run.run_id, show(f"{run.title}, {run.dataset_name}", 80), True) for run in studio.runs.finished()[:LISTED])]


def log_tail(studio: Studio, subject: str) -> str:
    """The end of what the job of `subject` has printed, cleaned."""
    return "\n".join(show(line, 2000) for line in studio.training.printed(subject, LOG_BYTES).splitlines())


def _job_page(studio: Studio, job: JobView, offset: int) -> LivePage:
    live = job.state == "running"
    events, offset = studio.training.news(job.id, offset)
    began = max((place for place, event in enumerate(events) if event["type"] == ROWS), default=None)
    events = events if began is None else events[began:]
    watched = [event for event in events if event["type"] == EVENT]
    facts = [("Left", f"about {seconds(job.eta_s)}" if job.eta_s is not None else "")]
    facts += [("Rows removed", _removed(event["rows"], event["kept"])) for event in events if event["type"] == ROWS]
    return LivePage(
        job.id,
        show(job.title, 120),
        (show(job.stage, 80) or "Starting") if live else _ENDED.get(job.state, ""),
        [event for event in events if event["type"] == "metric"],
        offset,
        live=live,
        facts=facts,
        quick=[_scores(line) for line in watched],
        answers=_answers(watched),
        anew=began is not None,
        has_log=True,
    )


def _run_page(studio: Studio, run_id: str, *, done: bool) -> LivePage:
    run = next((run for run in studio.runs.finished() if run.run_id == run_id), None)
    if run is None:
        return NOTHING
    watched = [] if done else studio.training.watched(run_id)
    return LivePage(
        run_id,
        show(f"{run.title}, {run.dataset_name}", 160),
        "Finished",
        [] if done else studio.training.log(run_id),
        1,
        live=False,
        facts=[("Rows removed", _removed(run.rows, run.kept)), ("Took", seconds(run.seconds))],
        quick=[_scores(line) for line in watched],
        answers=_answers(watched),
        has_log=studio.training.job_of(run_id) is not None,
    )


def _removed(rows: int, kept: int) -> str:
    return f"{count(rows - kept)} of {count(rows)} ({(rows - kept) / max(rows, 1):.0%})".replace("%", " %")


def _scores(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line.get(name) for name in ("step", "seconds", "hs", "over_refusal", "fa")}


def _answers(watched: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest sample answers, as the card draws them."""
    return [_answer(one) for one in watched[-1]["answers"]] if watched else []


def _answer(one: dict[str, Any]) -> dict[str, Any]:
    told = VERDICTS.get(one["verdict"], "no verdict")
    if one["set"] == "task":
        told = {"comply": "right", "refuse": "refused"}.get(one["verdict"], "wrong")
    bad = one["verdict"] == {"harmful": "comply", "harmless": "refuse"}.get(one["set"]) or (
        one["set"] == "task" and one["verdict"] != "comply"
    )
    asked, answered = (show(one[name], TEXT) for name in ("prompt", "answer"))
    return {"set": one["set"], "name": SETS.get(one["set"], one["set"]), "prompt": asked, "answer": answered, "verdict": told, "bad": bad}
