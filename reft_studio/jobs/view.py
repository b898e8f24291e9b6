"""What the app shows of a job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from reft_studio.jobs.job import JobState
from reft_studio.jobs.status import Status, silent_for
from reft_studio.store.jobs import JobRecord

STALE_S = 30.0
"""A worker without a sign of life for this long is said to hang."""


@dataclass(frozen=True)
class JobView:
    """A job as it stands. Times are seconds since the epoch, `rate` is per second, `position` counts queued jobs from 1.

    `message` is for the person: what went wrong, or why nothing moves. `total` is 0 where it is not known.
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


def view(record: JobRecord, status: Status | None, folder: Path, *, position: int | None, now: float) -> JobView:
    """Table row and worker's status as one. An ended job keeps the last progress of its attempt."""
    if record.state == "queued":
        status = None
    known = status or Status(attempt=record.attempt, pid=0, born="")
    live = record.state == "running"
    return JobView(
        id=record.id,
        kind=record.kind,
        title=record.title,
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
        message=_message(record, folder, now),
        params=record.params,
        result=record.result,
        position=position,
    )


def _message(record: JobRecord, folder: Path, now: float) -> str:
    if record.state != "running":
        return record.message
    if record.cancel_at is not None:
        return "Stopping."
    silent = silent_for(folder, now)
    return f"No sign of life for {silent:.0f} s. Wait, or cancel it and try again." if silent > STALE_S else ""
