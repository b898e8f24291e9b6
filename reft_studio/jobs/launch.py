"""Starts a worker that outlives the app."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from reft_studio.jobs import events, status
from reft_studio.store.jobs import JobRecord
from reft_studio.workspace import Workspace

LOG = "stdout.log"
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


def launch(workspace: Workspace, record: JobRecord) -> subprocess.Popen[bytes]:
    """A worker process of its own session, so that neither Ctrl-C nor the end of the app reaches it; output goes to stdout.log."""
    folder = workspace.folder("jobs", record.id)
    folder.mkdir(parents=True, exist_ok=True)
    _retire(folder, record.attempt)
    command = [sys.executable, "-m", "reft_studio.jobs.worker"]
    command += ["--workspace", str(workspace.root), "--job", record.id, "--attempt", str(record.attempt)]
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=workspace.root,
            env=_environment(),
            start_new_session=True,
            close_fds=True,
        )


def _environment() -> dict[str, str]:
    """The app's own environment; the package is found wherever the app was started from, and its output is not held back."""
    path = os.pathsep.join(part for part in (str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def _retire(folder: Path, attempt: int) -> None:
    """Put the events of the attempt before aside, and forget its status and commands."""
    if (folder / events.FILE).exists():
        (folder / events.FILE).replace(folder / f"events-{attempt - 1}.jsonl")
    for name in (status.FILE, status.LAST_WORDS, status.CONTROL, status.HEARTBEAT):
        (folder / name).unlink(missing_ok=True)
