"""Merged models of finished runs: whether one is there, what it would take, and the job that makes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reft_studio.errors import PrerequisiteError, StoreError
from reft_studio.jobs.job import LIVE
from reft_studio.jobs.queue import JobQueue
from reft_studio.jobs.view import JobView
from reft_studio.models.merged_size import check_disk, format_named, format_of, free_at, needed
from reft_studio.models.merged_size import size_words as size_words
from reft_studio.models.source import ModelSource
from reft_studio.studio.memory import at_hand
from reft_studio.tasks.merge import ON
from reft_studio.training.merged import MergedRun, check_target, merged_folder, merged_run
from reft_studio.training.run_folder import open_run
from reft_studio.training.run_names import run_title
from reft_studio.workspace import Workspace

JOB = "merge"


@dataclass(frozen=True)
class MergeState:
    """How it stands with one run. `needed` and `free` are bytes of disk, `needed` None where the base is not on this machine.

    `folder` is where the merged model is, or will be; `refused` says why it cannot be made now, `damaged` what is wrong with the one that
    is there; `job` is the newest that made or makes it.
    """

    run: str
    folder: Path
    made: MergedRun | None
    dtype: str
    needed: int | None
    free: int
    refused: str
    damaged: str
    job: JobView | None

    @property
    def state(self) -> Literal["made", "going", "possible", "refused"]:
        """In one word."""
        if self.job is not None and self.job.state in LIVE:
            return "going"
        return "made" if self.made is not None else "refused" if self.refused else "possible"


@dataclass(frozen=True)
class MergedModels:
    """The merged models of a workspace."""

    workspace: Workspace
    jobs: JobQueue

    def state(self, run_id: str, dtype: str = "auto") -> MergeState:
        """How it stands with a run. Raises StoreError if there is none, SpecError for a number format that there is not."""
        run, folder = open_run(self.workspace, run_id), merged_folder(self.workspace, run_id)
        made, damaged = _made(self.workspace, run_id)
        source = at_hand(run.spec.model, run.spec.loading)
        if source is None:
            refused = f"The base '{run.spec.model}' is not on this machine, and merging needs its weights."
            return MergeState(run_id, folder, made, "", None, free_at(folder), refused, damaged, self._job(run_id))
        kind = format_of(source, format_named(dtype))
        refused = _no_room(source, kind, folder)
        return MergeState(run_id, folder, made, kind, needed(source, kind), free_at(folder), refused, damaged, self._job(run_id))

    def start(self, run_id: str, *, dtype: str = "auto", target: Path | None = None) -> str:
        """Queue the merging of a run, into the workspace or a folder that is not there yet; returns the job.

        Raises PrerequisiteError, with what is needed and what is free, where the disk has no room, SpecError for a folder in use.
        """
        self.workspace.require_writable()
        run = open_run(self.workspace, run_id)
        if target is not None:
            check_target(target)
        source = at_hand(run.spec.model, run.spec.loading)
        if source is not None:
            check_disk(source, format_of(source, format_named(dtype)), target or merged_folder(self.workspace, run_id))
        params = {"run": run_id, "dtype": dtype, "target": None if target is None else str(target.absolute()), "loading": ON}
        return self.jobs.submit_once(JOB, params, title=f"Merge {run_title(self.workspace, run.spec)} into its base")

    def _job(self, run_id: str) -> JobView | None:
        return next((job for job in self.jobs.list() if job.kind == JOB and job.params.get("run") == run_id), None)


def _made(workspace: Workspace, run_id: str) -> tuple[MergedRun | None, str]:
    """The merged model of a run, or what is wrong with it."""
    try:
        return merged_run(workspace, run_id), ""
    except StoreError as exc:
        return None, str(exc)


def _no_room(source: ModelSource, kind: str, folder: Path) -> str:
    """Why a merged model does not fit on its disk; empty if it does."""
    try:
        check_disk(source, kind, folder)
    except PrerequisiteError as exc:
        return str(exc)
    return ""
