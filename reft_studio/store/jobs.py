"""The job table: what was asked for, in which order, and how it ended. How far a running job is stands in its own folder."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from reft_studio.errors import SpecError, StoreError
from reft_studio.store.connection import reading, transaction
from reft_studio.workspace import Workspace

Ended = Literal["done", "failed", "cancelled", "interrupted"]
_FAILED = ("failed", "cancelled", "interrupted")


@dataclass(frozen=True)
class JobRecord:
    """One row of the table. Times are seconds since the epoch; `worker` names the process of the present attempt."""

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


def insert(workspace: Workspace, job_id: str, *, kind: str, title: str, params: dict[str, Any], after: str | None, now: float) -> None:
    """Put a job at the end of the queue. Raises SpecError if the job it is to follow does not exist."""
    try:
        text = json.dumps(params, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise SpecError(f"The settings of this '{kind}' job cannot be kept as JSON ({exc}).") from exc
    with transaction(workspace) as connection:
        if after is not None and not connection.execute("SELECT 1 FROM jobs WHERE id = ?", (after,)).fetchone():
            raise SpecError(f"There is no job '{after[:40]}' to wait for.")
        connection.execute(
            "INSERT INTO jobs (id, kind, title, params, after, state, position, created) "
            "VALUES (?, ?, ?, ?, ?, 'queued', (SELECT coalesce(max(position), 0) + 1 FROM jobs), ?)",
            (job_id, kind, title, text, after, now),
        )


def get(workspace: Workspace, job_id: str) -> JobRecord:
    """The job with this id. Raises StoreError if there is none."""
    with reading(workspace) as connection:
        return _one(connection, job_id)


def listing(workspace: Workspace, limit: int) -> list[JobRecord]:
    """Running and queued jobs (all of them, in queue order), then the newest ended ones; at most `limit` of the latter."""
    live = "SELECT * FROM jobs WHERE state IN ('running', 'queued') ORDER BY state DESC, position"
    ended = "SELECT * FROM jobs WHERE state NOT IN ('running', 'queued') ORDER BY finished DESC, created DESC LIMIT ?"
    with reading(workspace) as connection:
        return [_record(row) for row in (*connection.execute(live), *connection.execute(ended, (max(limit, 0),)))]


def running(workspace: Workspace) -> list[JobRecord]:
    """Jobs that have a worker, or are being given one."""
    with reading(workspace) as connection:
        return [_record(row) for row in connection.execute("SELECT * FROM jobs WHERE state = 'running' ORDER BY position")]


def claim(workspace: Workspace, *, now: float, background: Collection[str] = (), beside: bool = False) -> JobRecord | None:
    """Mark the next job as running and return it: None if one runs already, or none is ready.

    Jobs of the `background` kinds run one at a time beside the others: they are what is claimed if `beside`, else they are left.
    Of several processes that ask at once, one gets it. A job whose forerunner did not end well is cancelled here.
    """
    kinds = sorted(background)
    lane = f"kind {'IN' if beside else 'NOT IN'} ({', '.join('?' * len(kinds))})"
    ready = (
        f"SELECT id FROM jobs WHERE state = 'queued' AND {lane} "
        "AND (after IS NULL OR after IN (SELECT id FROM jobs WHERE state = 'done')) ORDER BY position LIMIT 1"
    )
    with transaction(workspace) as connection:
        _cancel_blocked(connection, now)
        if connection.execute(f"SELECT 1 FROM jobs WHERE state = 'running' AND {lane} LIMIT 1", kinds).fetchone():
            return None
        row = connection.execute(ready, kinds).fetchone()
        if row is None:
            return None
        connection.execute(
            "UPDATE jobs SET state = 'running', attempt = attempt + 1, started = ?, finished = NULL, worker = NULL, cancel_at = NULL, "
            "message = '', result = NULL WHERE id = ?",
            (now, row["id"]),
        )
        return _one(connection, row["id"])


def name_worker(workspace: Workspace, job_id: str, attempt: int, worker: str) -> None:
    """Note which process works on this attempt."""
    with transaction(workspace) as connection:
        connection.execute("UPDATE jobs SET worker = ? WHERE id = ? AND attempt = ?", (worker, job_id, attempt))


def finish(
    workspace: Workspace, job_id: str, attempt: int, state: Ended, *, message: str, result: dict[str, Any] | None, now: float
) -> JobRecord:
    """End a running attempt; an attempt that has ended already keeps its first end."""
    with transaction(workspace) as connection:
        connection.execute(
            "UPDATE jobs SET state = ?, message = ?, result = ?, finished = ? WHERE id = ? AND attempt = ? AND state = 'running'",
            (state, message, None if result is None else json.dumps(result), now, job_id, attempt),
        )
        return _one(connection, job_id)


def request_cancel(workspace: Workspace, job_id: str, *, now: float) -> JobRecord:
    """Cancel a queued job at once; on a running one, note that it was asked to stop (the first time counts)."""
    with transaction(workspace) as connection:
        connection.execute(
            "UPDATE jobs SET state = 'cancelled', finished = ?, message = '', blocked_by = NULL WHERE id = ? AND state = 'queued'",
            (now, job_id),
        )
        connection.execute("UPDATE jobs SET cancel_at = coalesce(cancel_at, ?) WHERE id = ? AND state = 'running'", (now, job_id))
        return _one(connection, job_id)


def requeue(workspace: Workspace, job_id: str) -> JobRecord:
    """Queue a job that did not end well once more, at the end, with those that were cancelled because of it."""
    with transaction(workspace) as connection:
        record = _one(connection, job_id)
        if record.state not in _FAILED:
            raise SpecError(f"'{record.title}' is {record.state}. Only a failed, cancelled or interrupted job can be tried again.")
        waiting = [record.id]
        while waiting:
            again = waiting.pop(0)
            connection.execute(
                "UPDATE jobs SET state = 'queued', position = (SELECT max(position) + 1 FROM jobs), finished = NULL, started = NULL, "
                "message = '', result = NULL, cancel_at = NULL, blocked_by = NULL WHERE id = ?",
                (again,),
            )
            waiting += [row["id"] for row in connection.execute("SELECT id FROM jobs WHERE blocked_by = ? ORDER BY position", (again,))]
        return _one(connection, job_id)


def swap(workspace: Workspace, job_id: str, *, earlier: bool) -> None:
    """Change places with the queued job before (or after) this one; at the end of the queue nothing happens."""
    beside = "position < ? ORDER BY position DESC" if earlier else "position > ? ORDER BY position"
    with transaction(workspace) as connection:
        record = _one(connection, job_id)
        other = connection.execute(
            f"SELECT id, position FROM jobs WHERE state = 'queued' AND {beside} LIMIT 1", (record.position,)
        ).fetchone()
        if record.state != "queued" or other is None:
            return
        connection.execute("UPDATE jobs SET position = ? WHERE id = ?", (other["position"], record.id))
        connection.execute("UPDATE jobs SET position = ? WHERE id = ?", (record.position, other["id"]))


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
    return JobRecord(**values)
