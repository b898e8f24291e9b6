"""Deletes a run atomically: one transaction deletes its rows in the database and records the folders to be deleted.

If a process dies after that, the next one deletes the folders (`finish`); if it dies before, everything is left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from reft_studio.errors import PrerequisiteError, StoreError, StudioError
from reft_studio.failpoints import failpoint
from reft_studio.store import jobs
from reft_studio.store.connection import reading, transaction
from reft_studio.store.jobs import JobRecord
from reft_studio.workspace import Workspace, discard

_LOG = logging.getLogger(__name__)


def remove_run(
    workspace: Workspace, run: str, *, ended_jobs: Sequence[str], folders: Sequence[Path], blocked_by: Callable[[Sequence[JobRecord]], str]
) -> None:
    """Delete the notes on a run, the jobs that made it, and these folders.

    `held` is called under the write lock with all live jobs and returns the reason why the run cannot be deleted, or "". Raises
    StoreError with that reason, and changes nothing.
    """
    with transaction(workspace) as connection:
        live = jobs.live(connection)
        waits = next((job for job in live if job.after in ended_jobs), None)
        if reason := blocked_by(live) or (f"'{waits.title}' waits for it. Cancel that job first." if waits else ""):
            raise StoreError(reason)
        connection.execute("DELETE FROM run_notes WHERE run = ?", (run,))
        for job in ended_jobs:
            connection.execute("UPDATE jobs SET after = NULL WHERE after = ?", (job,))
            connection.execute("UPDATE jobs SET blocked_by = NULL WHERE blocked_by = ?", (job,))
            connection.execute("DELETE FROM jobs WHERE id = ?", (job,))
        for folder in folders:
            if folder.exists():
                row = (folder.relative_to(workspace.root).as_posix(), *_mark(folder))
                connection.execute("INSERT OR REPLACE INTO removals (path, inode, modified) VALUES (?, ?, ?)", row)
    finish(workspace)


def finish(workspace: Workspace) -> None:
    """Delete the folders of all pending deletions. Raises PrerequisiteError if the disk refuses."""
    with reading(workspace) as connection:
        rows = [tuple(row) for row in connection.execute("SELECT path, inode, modified FROM removals ORDER BY rowid")]
    for path, *mark in rows:
        failpoint("removal.between")
        folder = workspace.root / path
        if folder.exists() and _mark(folder) == mark:  # else another has been made under its name since
            _discard(folder)
        with transaction(workspace) as connection:
            connection.execute("DELETE FROM removals WHERE path = ? AND inode = ? AND modified = ?", (path, *mark))


def finish_left(workspace: Workspace) -> None:
    """`finish` the deletions of a process that died; what fails now is logged and left for the next start."""
    if not workspace.writable or not workspace.database.is_file():
        return
    try:
        finish(workspace)
    except StudioError as exc:
        _LOG.warning("What was deleted is not quite gone yet: %s", exc)


def _discard(folder: Path) -> None:
    try:
        discard(folder)
    except PrerequisiteError:
        if folder.exists():  # else another process was faster
            raise


def _mark(folder: Path) -> list[int]:
    """Identifies a folder among others that have had, or will have, its name."""
    status = folder.stat()
    return [status.st_ino, status.st_mtime_ns]
