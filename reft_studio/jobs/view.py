"""A job as the app shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from reft_studio.jobs.job import LIVE, JobState
from reft_studio.jobs.status import Status, silent_for
from reft_studio.store.jobs import JobRecord

STALE_S = 30.0
"""Seconds without a heartbeat after which a worker is reported to hang."""


@dataclass(frozen=True)
class JobView:
    """A job in its current state. Times are seconds since the epoch, `rate` is per second, `position` counts queued jobs from 1.

    `message` is for the person: what went wrong, or why nothing moves. `total` is 0 if unknown. `waits` says what a paused or queued job
    waits for; one that a person paused waits for the person.
    """

    id: str
    kind: str
    title: str
    state: JobState
    stage: str
    stage_index: int
    stage_count: int
    done: int
    total: int
    rate: float | None
    eta_s: float | None
    started: float | None
    finished: float | None
    message: str
    params: dict[str, Any]
    result: dict[str, Any] | None
    position: int | None
    attempt: int = 0
    waits: Literal["", "disk", "device", "person"] = ""
    device: str | None = None
    asked: str = ""
    created: float = 0.0
    run: str = ""
    """The run that it makes or made."""

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self.state in LIVE


def view(record: JobRecord, status: Status | None, folder: Path, *, title: str, position: int | None, now: float, run: str = "") -> JobView:
    """Table row and worker's status combined, under the job's current name. An ended job keeps the last progress of its attempt."""
    if record.state == "queued":
        status = None
    waiting = status.waiting if status is not None and record.state == "running" else ""
    known = status or Status(attempt=record.attempt, pid=0, born="")
    live = record.state == "running"
    return JobView(
        id=record.id,
        kind=record.kind,
        title=title,
        state=cast(JobState, record.state),
        stage=known.stage,
        stage_index=known.stage_index,
        stage_count=known.stage_count,
        done=known.done,
        total=known.total,
        rate=known.rate if live else None,
        eta_s=known.eta_s if live else None,
        started=record.started,
        finished=record.finished,
        message=_message(record, known, folder, now),
        params=record.params,
        result=record.result,
        position=position,
        attempt=record.attempt,
        waits="device" if waiting else "" if record.state != "paused" else "disk" if record.wait_free else "person",
        device=record.device,
        asked=record.asked,
        created=record.created,
        run=run,
    )


def trains(stage: str) -> bool:
    """Whether a stage is the training of a run, which can be ended early."""
    return stage.startswith("train")


_ASKED = {
    "cancel": "Stopping.",
    "pause": "Pausing: it ends its step and keeps what it has.",
    "yield": "Letting chat have its device: it ends its step and keeps what it has.",
    "stop": "Ending the training after this step; what was learnt is kept.",
}


def _message(record: JobRecord, status: Status, folder: Path, now: float) -> str:
    """What a person must know besides the progress: what the job waits for, and why this is not its first attempt."""
    note = f"{record.note} (attempt {record.attempt})." if record.note and record.state == "running" else ""
    if record.state != "running":
        return record.message or (f"{record.note}." if record.note and record.state == "queued" else "")
    if record.asked in _ASKED and (record.asked != "stop" or trains(status.stage)):
        return _ASKED[record.asked]
    silent = silent_for(folder, now)
    if silent > STALE_S:
        return f"No sign of life for {silent:.0f} s. Wait, or cancel it and try again."
    return " ".join(part for part in (status.waiting, note) if part)
