"""Which run a job makes or made: not the requested one if a person ended the training early."""

from __future__ import annotations

from typing import Any

from reft_studio.store import run_notes
from reft_studio.store.jobs import JobRecord
from reft_studio.training.run_names import id_of
from reft_studio.workspace import Workspace, read_json, write_json

ENDED_EARLY = "ended-early.json"
"""In a job's folder: the requested run, and the one it became when a person ended the training."""


def run_of(workspace: Workspace, record: JobRecord) -> str:
    """The id of the run that a job makes or made; empty for other jobs."""
    if record.kind != "run":
        return ""
    if record.result is not None and "run" in record.result:
        return str(record.result["run"])
    asked = id_of(record.params.get("spec") or {})
    became = ended_early(workspace, record.id)
    return str(became["run"]) if became is not None and became["asked"] == asked and not record.anew else asked


def ended_early(workspace: Workspace, job_id: str) -> dict[str, Any] | None:
    """`asked` and `run` of a job whose training a person ended; None for any other."""
    note = workspace.folder("jobs", job_id) / ENDED_EARLY
    return dict(read_json(note)) if note.is_file() else None


def became(workspace: Workspace, job_id: str, *, asked: str, run: str) -> None:
    """Record that a job's run became another one, which inherits its name, tags and note. Idempotent."""
    write_json(workspace.folder("jobs", job_id) / ENDED_EARLY, {"asked": asked, "run": run})
    run_notes.carry(workspace, asked, run)
