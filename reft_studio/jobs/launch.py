"""Starts a worker process that outlives the app."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from reft_studio.jobs import devices, events, status
from reft_studio.store.jobs import JobRecord
from reft_studio.workspace import Workspace

LOG = "stdout.log"
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


def launch(workspace: Workspace, record: JobRecord) -> int:
    """Start a worker in a session of its own, so that neither Ctrl-C nor the end of the app reaches it; returns its process id.

    Its output goes to stdout.log. The caller collects its exit status with `reap`.
    """
    folder = workspace.folder("jobs", record.id)
    folder.mkdir(parents=True, exist_ok=True)
    retire(folder, record.attempt)
    command = [sys.executable, "-m", "reft_studio.jobs.worker"]
    command += ["--workspace", str(workspace.root), "--job", record.id, "--attempt", str(record.attempt)]
    # Not subprocess.Popen: that owns its child and complains when it is dropped while the child goes on, which is the point here.
    return os.posix_spawn(
        sys.executable,
        command,
        {**_environment(), **devices.visible(None if record.wants else record.device)},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(folder / LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def reap(pid: int) -> bool:
    """Collect the exit status of a worker started by this process, so that it does not stay a zombie; True once it has ended."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _environment() -> dict[str, str]:
    """The app's environment, with the package on the path wherever the app was started from, and unbuffered output."""
    path = os.pathsep.join(part for part in (str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def retire(folder: Path, attempt: int) -> None:
    """Rename the events of the previous attempt, and delete its status and commands."""
    if (folder / events.FILE).exists():
        (folder / events.FILE).replace(folder / f"events-{attempt - 1}.jsonl")
    for name in (status.FILE, status.LAST_WORDS, status.CONTROL, status.HEARTBEAT):
        (folder / name).unlink(missing_ok=True)
