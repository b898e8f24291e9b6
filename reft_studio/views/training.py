"""A run in training or trained, as a person looks at it: its log, what was looked at on the way, what its job printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reft_studio.errors import StoreError
from reft_studio.jobs.queue import JobQueue
from reft_studio.jobs.view import JobView
from reft_studio.training.run_folder import open_run
from reft_studio.training.watch import EVENT, ROWS, read_watch
from reft_studio.workspace import Workspace

KINDS = ("run", "demo", "teacher")
"""Kinds of job that train."""
NEWS = ("metric", EVENT, ROWS)
"""Types of events that a look at a training reads."""


@dataclass(frozen=True)
class Training:
    """The trainings of a workspace. A `subject` is the id of a job that trains, or of a finished run."""

    workspace: Workspace
    jobs: JobQueue

    def running(self) -> list[JobView]:
        """Jobs that train now."""
        return [job for job in self.jobs.list(0) if job.kind in KINDS and job.state == "running"]

    def news(self, job_id: str, offset: int) -> tuple[list[dict[str, Any]], int]:
        """Events of a job since an offset that an earlier call gave (0: all), and the offset to go on from."""
        return self.jobs.metrics(job_id, offset, kinds=NEWS)

    def log(self, run_id: str) -> list[dict[str, float]]:
        """One line per optimizer step of a finished run."""
        return open_run(self.workspace, run_id).log()

    def watched(self, run_id: str) -> list[dict[str, Any]]:
        """What was looked at while a finished run trained, oldest first."""
        return read_watch(open_run(self.workspace, run_id).folder)

    def job_of(self, subject: str) -> str | None:
        """The job of a subject; None for a run that no job of this workspace did, or one done long ago."""
        try:
            return self.jobs.get(subject).id
        except StoreError:
            return next((job.id for job in self.jobs.list() if (job.result or {}).get("run") == subject), None)

    def printed(self, subject: str, limit: int) -> str:
        """The end of what the job of a subject printed, at most `limit` bytes."""
        job = self.job_of(subject)
        return self.jobs.log(job, limit) if job else ""
