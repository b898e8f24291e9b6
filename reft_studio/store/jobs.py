"""The job table: requested jobs, their order, and how they ended. The progress of a running job is in its own folder."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reft_studio.errors import SpecError, StoreError
from reft_studio.store.connection import reading, transaction
from reft_studio.workspace import Workspace

Ended = Literal["done", "failed", "cancelled", "interrupted"]
Lane = Literal["light", "background", "model"]
Asked = Literal["", "cancel", "pause", "yield", "stop"]
_FAILED = ("failed", "cancelled", "interrupted")
_FRONT = "(SELECT min(position) - 1 FROM jobs)"
_FRESH = "started = NULL, finished = NULL, worker = NULL, cancel_at = NULL, asked = '', device = NULL, result = NULL, blocked_by = NULL"


@dataclass(frozen=True)
class JobRecord:
    """One row of the table. Times are seconds since the epoch; `worker` identifies the process of the current attempt.

    `wants` is the device that a job of the lane "model" requires (None: any), `device` the one it has. `deaths` counts consecutive attempts
    that died early, `note` says why there was another one. A paused job with `wait_free` resumes once that many bytes are free on the disk
    of `wait_at`. `anew`: the next attempt discards checkpoints of earlier ones.
    """

    id: str
    kind: str
    title: str
    params: dict[str, Any]
    after: str | None
    state: str
    position: int
    attempt: int
    created: float
    started: float | None
    finished: float | None
    worker: str | None
    cancel_at: float | None
    blocked_by: str | None
    message: str
    result: dict[str, Any] | None
    lane: Lane
    wants: str | None
    device: str | None
    asked: Asked
    deaths: int
    note: str
    anew: bool
    wait_at: str | None
    wait_free: int | None


def insert(
    workspace: Workspace,
    job_id: str,
    *,
    kind: str,
    title: str,
    params: dict[str, Any],
    after: str | None,
    now: float,
    lane: Lane = "model",
    wants: str | None = None,
) -> None:
    """Append a job to the queue. Raises SpecError if the job it is to follow does not exist."""
    try:
        text = json.dumps(params, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise SpecError(f"The settings of this '{kind}' job cannot be kept as JSON ({exc}).") from exc
    with transaction(workspace) as connection:
        if after is not None and not connection.execute("SELECT 1 FROM jobs WHERE id = ?", (after,)).fetchone():
            raise SpecError(f"There is no job '{after[:40]}' to wait for.")
        connection.execute(
            "INSERT INTO jobs (id, kind, title, params, after, state, position, created, lane, wants) "
            "VALUES (?, ?, ?, ?, ?, 'queued', (SELECT coalesce(max(position), 0) + 1 FROM jobs), ?, ?, ?)",
            (job_id, kind, title, text, after, now, lane, wants),
        )


def get(workspace: Workspace, job_id: str) -> JobRecord:
    """The job with this id. Raises StoreError if there is none."""
    with reading(workspace) as connection:
        return _one(connection, job_id)


def listing(workspace: Workspace, limit: int) -> list[JobRecord]:
    """Running, queued and paused jobs (all of them, each in queue order), then the newest ended ones; at most `limit` of the latter."""
    live = "SELECT * FROM jobs WHERE state IN ('running', 'queued', 'paused') ORDER BY state DESC, position"
    ended = "SELECT * FROM jobs WHERE state NOT IN ('running', 'queued', 'paused') ORDER BY finished DESC, created DESC LIMIT ?"
    with reading(workspace) as connection:
        return [_record(row) for row in (*connection.execute(live), *connection.execute(ended, (max(limit, 0),)))]


def not_done(workspace: Workspace, kind: str) -> list[JobRecord]:
    """Jobs of a kind that have not succeeded: live ones in queue order, then the others, newest first."""
    order = "state IN ('running', 'queued', 'paused') DESC, CASE WHEN finished IS NULL THEN position END, finished DESC"
    with reading(workspace) as connection:
        query = f"SELECT * FROM jobs WHERE kind = ? AND state <> 'done' ORDER BY {order}"
        return [_record(row) for row in connection.execute(query, (kind,))]


def ended(workspace: Workspace, kind: str) -> list[JobRecord]:
    """Jobs of a kind that have ended, successfully or not."""
    with reading(workspace) as connection:
        query = "SELECT * FROM jobs WHERE kind = ? AND state NOT IN ('running', 'queued', 'paused')"
        return [_record(row) for row in connection.execute(query, (kind,))]


def live(connection: sqlite3.Connection) -> list[JobRecord]:
    """Jobs that have not ended, as seen by an open connection."""
    return [
        _record(row) for row in connection.execute("SELECT * FROM jobs WHERE state IN ('running', 'queued', 'paused') ORDER BY position")
    ]


def running(workspace: Workspace) -> list[JobRecord]:
    """Jobs that have a worker, or are being given one."""
    with reading(workspace) as connection:
        return [_record(row) for row in connection.execute("SELECT * FROM jobs WHERE state = 'running' ORDER BY position")]


def claim(workspace: Workspace, *, now: float, devices: Sequence[str] = ("cpu",), light: int = 1) -> JobRecord | None:
    """Mark the first job that is ready and has a free slot as running and return it; None if there is none.

    There is a slot for one job of the lane "model" on each device, and for `light` others, one of them in the background.
    Of several processes that claim at once, one gets it. A job whose predecessor failed is cancelled here.
    """
    ready = (
        "SELECT id, lane, wants FROM jobs WHERE state = 'queued' "
        "AND (after IS NULL OR after IN (SELECT id FROM jobs WHERE state = 'done')) ORDER BY position"
    )
    with transaction(workspace) as connection:
        _cancel_blocked(connection, now)
        taken = connection.execute("SELECT lane, device FROM jobs WHERE state = 'running'").fetchall()
        for row in connection.execute(ready).fetchall():
            if (device := _room(row, taken, devices, light)) is None:
                continue
            connection.execute(
                "UPDATE jobs SET state = 'running', attempt = attempt + 1, started = ?, finished = NULL, worker = NULL, cancel_at = NULL, "
                "asked = '', message = '', result = NULL, device = ? WHERE id = ?",
                (now, device or None, row["id"]),
            )
            return _one(connection, row["id"])
        return None


def _room(job: sqlite3.Row, taken: Sequence[sqlite3.Row], devices: Sequence[str], light: int) -> str | None:
    """The device that is free for a job, "" for one that needs none; None if it has to wait."""
    if job["lane"] == "model":
        busy = {row["device"] for row in taken if row["lane"] == "model"}
        return next((device for device in ((job["wants"],) if job["wants"] else devices) if device not in busy), None)
    light_lanes = [row["lane"] for row in taken if row["lane"] != "model"]
    return None if len(light_lanes) >= light or job["lane"] == "background" in light_lanes else ""


def name_worker(workspace: Workspace, job_id: str, attempt: int, worker: str) -> None:
    """Record the process that works on this attempt."""
    with transaction(workspace) as connection:
        connection.execute("UPDATE jobs SET worker = ? WHERE id = ? AND attempt = ?", (worker, job_id, attempt))


def finish(
    workspace: Workspace, job_id: str, attempt: int, state: Ended, *, message: str, result: dict[str, Any] | None, now: float
) -> JobRecord:
    """End a running attempt; one that has ended already keeps its first end."""
    with transaction(workspace) as connection:
        connection.execute(
            "UPDATE jobs SET state = ?, message = ?, result = ?, finished = ? WHERE id = ? AND attempt = ? AND state = 'running'",
            (state, message, None if result is None else json.dumps(result), now, job_id, attempt),
        )
        return _one(connection, job_id)


def put_back(workspace: Workspace, job_id: str, attempt: int, *, deaths: int, note: str, anew: bool) -> JobRecord:
    """Put a running job whose attempt is over at the front of the queue again."""
    with transaction(workspace) as connection:
        connection.execute(
            f"UPDATE jobs SET state = 'queued', position = {_FRONT}, message = '', deaths = ?, note = ?, anew = ?, {_FRESH} "
            "WHERE id = ? AND attempt = ? AND state = 'running'",
            (deaths, note, anew, job_id, attempt),
        )
        return _one(connection, job_id)


def pause(
    workspace: Workspace,
    job_id: str,
    attempt: int,
    *,
    message: str,
    deaths: int = 0,
    wait_at: str | None = None,
    wait_free: int | None = None,
) -> JobRecord:
    """Pause a running job whose attempt is over; `wait_free`: until that many bytes are free on the disk of `wait_at`."""
    with transaction(workspace) as connection:
        connection.execute(
            f"UPDATE jobs SET state = 'paused', message = ?, deaths = ?, wait_at = ?, wait_free = ?, {_FRESH} "
            "WHERE id = ? AND attempt = ? AND state = 'running'",
            (message, deaths, wait_at, wait_free, job_id, attempt),
        )
        return _one(connection, job_id)


def ask(workspace: Workspace, job_id: str, what: Asked, *, now: float, message: str = "") -> JobRecord:
    """Cancel or pause a job that does not run at once; for a running one, record the request. Cancelling overrides everything else."""
    with transaction(workspace) as connection:
        if what == "cancel":
            connection.execute(
                "UPDATE jobs SET state = 'cancelled', finished = ?, message = '', blocked_by = NULL, wait_at = NULL, wait_free = NULL "
                "WHERE id = ? AND state IN ('queued', 'paused')",
                (now, job_id),
            )
        elif what == "pause":
            connection.execute("UPDATE jobs SET state = 'paused', message = ? WHERE id = ? AND state = 'queued'", (message, job_id))
        condition = "asked <> 'cancel'" if what == "cancel" else "asked IN ('', 'stop')"
        connection.execute(
            f"UPDATE jobs SET asked = ?, cancel_at = ? WHERE id = ? AND state = 'running' AND {condition}",
            (what, None if what == "stop" else now, job_id),
        )
        return _one(connection, job_id)


def resume(workspace: Workspace, job_id: str, *, note: str = "", deaths: int = 0) -> JobRecord:
    """Put a paused job at the front of the queue; any other is unchanged."""
    with transaction(workspace) as connection:
        connection.execute(
            f"UPDATE jobs SET state = 'queued', position = {_FRONT}, message = '', note = ?, deaths = ?, wait_at = NULL, wait_free = NULL "
            "WHERE id = ? AND state = 'paused'",
            (note, deaths, job_id),
        )
        return _one(connection, job_id)


def requeue(workspace: Workspace, job_id: str, *, anew: bool = False) -> JobRecord:
    """Queue a failed job again, at the end, with those that were cancelled because of it."""
    with transaction(workspace) as connection:
        record = _one(connection, job_id)
        if record.state not in _FAILED:
            raise SpecError(f"'{record.title}' is {record.state}. Only a failed, cancelled or interrupted job can be tried again.")
        waiting = [record.id]
        while waiting:
            again = waiting.pop(0)
            connection.execute(
                "UPDATE jobs SET state = 'queued', position = (SELECT max(position) + 1 FROM jobs), message = '', note = '', deaths = 0, "
                f"anew = ?, {_FRESH} WHERE id = ?",
                (anew and again == record.id, again),
            )
            waiting += [row["id"] for row in connection.execute("SELECT id FROM jobs WHERE blocked_by = ? ORDER BY position", (again,))]
        return _one(connection, job_id)


def swap(workspace: Workspace, job_id: str, *, earlier: bool) -> None:
    """Swap with the queued job before (or after) this one; at the end of the queue nothing happens."""
    neighbour = "position < ? ORDER BY position DESC" if earlier else "position > ? ORDER BY position"
    with transaction(workspace) as connection:
        record = _one(connection, job_id)
        other = connection.execute(
            f"SELECT id, position FROM jobs WHERE state = 'queued' AND {neighbour} LIMIT 1", (record.position,)
        ).fetchone()
        if record.state != "queued" or other is None:
            return
        connection.execute("UPDATE jobs SET position = ? WHERE id = ?", (other["position"], record.id))
        connection.execute("UPDATE jobs SET position = ? WHERE id = ?", (record.position, other["id"]))


def to_front(workspace: Workspace, job_id: str) -> None:
    """Put a queued job at the front; any other is unchanged. Raises StoreError if there is none with this id."""
    with transaction(workspace) as connection:
        _one(connection, job_id)
        connection.execute(f"UPDATE jobs SET position = {_FRONT} WHERE id = ? AND state = 'queued'", (job_id,))


def _cancel_blocked(connection: sqlite3.Connection, now: float) -> None:
    query = (
        "SELECT jobs.id, first.id AS first_id, first.title, first.state FROM jobs JOIN jobs AS first ON jobs.after = first.id "
        "WHERE jobs.state = 'queued' AND first.state IN ('failed', 'cancelled', 'interrupted')"
    )
    while blocked := connection.execute(query).fetchall():  # again, for jobs that wait for one just cancelled
        for row in blocked:
            how = "was interrupted" if row["state"] == "interrupted" else "was cancelled" if row["state"] == "cancelled" else "failed"
            message = f"It waited for '{row['title']}', which {how}. Try that one again, and this one follows."
            connection.execute(
                "UPDATE jobs SET state = 'cancelled', finished = ?, message = ?, blocked_by = ? WHERE id = ?",
                (now, message, row["first_id"], row["id"]),
            )


def _one(connection: sqlite3.Connection, job_id: str) -> JobRecord:
    row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise StoreError(f"There is no job '{job_id[:40]}' in this workspace.")
    return _record(row)


def _record(row: sqlite3.Row) -> JobRecord:
    values = dict(row)
    try:
        values["params"] = json.loads(row["params"])
        values["result"] = None if row["result"] is None else json.loads(row["result"])
    except ValueError as exc:
        raise StoreError(f"Job '{row['id']}' is damaged in the workspace database. Start it again as a new one.") from exc
    values["anew"] = bool(row["anew"])
    return JobRecord(**values)
