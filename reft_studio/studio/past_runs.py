"""All runs of a workspace as a list: finished ones, those on their way, those that ended before they were finished."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from reft_studio.data.dataset import open_dataset
from reft_studio.errors import SpecError, StoreError
from reft_studio.evaluation.result import EvaluationResult
from reft_studio.jobs.job import LIVE
from reft_studio.jobs.queue import JobQueue
from reft_studio.jobs.view import JobView, trains
from reft_studio.stats import Estimate
from reft_studio.store import run_notes
from reft_studio.store.run_notes import NOTHING, RunNote
from reft_studio.studio.run_curves import Curve, Curves
from reft_studio.studio.run_form import graded
from reft_studio.training.naming import head
from reft_studio.training.run_folder import UNFINISHED, RunInfo, checkpoint_folder, cost_words, list_runs, newest_checkpoint, open_run
from reft_studio.training.run_names import titles
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace, read_json

State = Literal[
    "queued", "preparing", "training", "evaluating", "paused", "failed", "cancelled", "interrupted", "left", "saved", "finished"
]
"""How a run stands. `left`: it has checkpoints and no job, as the command line leaves it. `saved`: a person ended its training early."""
STATES: dict[State, str] = {
    "queued": "Waits",
    "preparing": "Preparing",
    "training": "Training",
    "evaluating": "Evaluating",
    "paused": "Paused",
    "failed": "Failed",
    "cancelled": "Stopped",
    "interrupted": "Interrupted",
    "left": "Not finished",
    "saved": "Stopped and saved",
    "finished": "Finished",
}
"""How a person reads them."""
FINISHED: tuple[State, ...] = ("evaluating", "saved", "finished")
"""States of a run that has an adapter."""
FELL: tuple[State, ...] = ("failed", "cancelled", "interrupted")
"""States of a run that its job did not finish."""
GRADING = ("evaluate", "regrade")


@dataclass(frozen=True)
class PastRun:
    """A run, finished or not, with what was said of it.

    `generated` is its name if nobody gives it one. `job` is the job that makes it, empty if none of this workspace does; `message` says
    what went wrong. `kept_step`: an unfinished one goes on after this step. `cost` is empty for one that kept no ledger. What is not
    known yet is None.
    """

    run_id: str
    title: str
    generated: str
    note: RunNote
    method: str
    dataset: str
    dataset_name: str
    state: State
    job: str
    message: str
    created: str
    rows: int | None
    kept: int | None
    steps: int
    planned_steps: int | None
    kept_step: int | None
    seconds: float | None
    memory_mb: int | None
    cost: str
    curve: Curve
    example: str | None
    hs: Estimate | None
    fa: Estimate | None
    over_refusal: Estimate | None
    was: str = ""
    """The id of the run that was asked for, where a person ended its training early."""

    @property
    def is_finished(self) -> bool:
        """Whether it has an adapter."""
        return self.state in FINISHED

    @property
    def progress(self) -> str:
        """How far it came, where that is news: `step 40 of 160`, `after 40 of 160 steps`, `goes on after step 40`."""
        of = f" of {self.planned_steps:,}" if self.planned_steps else ""
        if self.state == "training":
            return f"step {self.steps:,}{of}"
        if self.state == "saved":
            return f"after {self.steps:,}{of} steps"
        return f"goes on after step {self.kept_step:,}{of}" if self.kept_step else f"at step {self.steps:,}{of}" if self._fell else ""

    @property
    def _fell(self) -> bool:
        return self.state in FELL and self.steps > 0


class PastRuns:
    """Lists the runs of a workspace, and finds the settings of each."""

    def __init__(self, workspace: Workspace, jobs: JobQueue) -> None:
        self.workspace, self.jobs = workspace, jobs
        self._curves = Curves(jobs)

    def every(self) -> list[PastRun]:
        """All of them: those that are not over first, in the order of the queue, then by their dates, newest first."""
        going, over = self._made()
        return [*going, *sorted(over, key=lambda one: one.created, reverse=True)]

    def settings(self, run_id: str) -> Mapping[str, Any]:
        """The settings of a run, finished or not. Raises StoreError if it is gone."""
        if (self.workspace.folder("runs", run_id) / "result.json").is_file():
            return open_run(self.workspace, run_id).spec.model_dump(mode="json")
        job = next((one for one in self.jobs.unfinished("run") if one.run == run_id), None)
        found = job.params["spec"] if job else _spec_left(checkpoint_folder(self.workspace, run_id))
        if found is None:
            raise StoreError(f"There is no run '{run_id[:40]}' in the workspace. It may have been deleted.")
        return dict(found)

    def _made(self) -> tuple[list[PastRun], list[PastRun]]:
        """Runs that are not over, and all others."""
        told = _Told(run_notes.every(self.workspace), titles(self.workspace), titles(self.workspace, generated=True))
        jobs = self._jobs_by_run()
        finished = {run.run_id: run for run in list_runs(self.workspace)}
        grading = self._being_graded()
        going: list[PastRun] = []
        over = [self._finished(run, told, jobs.get(run.run_id), being_graded=run.run_id in grading) for run in finished.values()]
        for run_id, job in jobs.items():
            if run_id not in finished:
                (going if job.state in LIVE else over).append(self._unfinished(run_id, job, told))
        return going, [*over, *self._left(told, besides={*finished, *jobs})]

    def _jobs_by_run(self) -> dict[str, JobView]:
        """The job of each run that has one: the one that is on its way, else the newest. One that never began made no run."""
        found: dict[str, JobView] = {}
        for job in self.jobs.unfinished("run"):
            if job.run and (job.attempt or job.state in LIVE):
                found.setdefault(job.run, job)
        return found

    def _being_graded(self) -> set[str]:
        jobs = [job for job in self.jobs.list(0) if job.kind in GRADING and job.state == "running"]
        return {str(run) for job in jobs for run in [*job.params.get("subjects", []), job.params.get("subject")] if run}

    def _finished(self, run: RunInfo, told: _Told, job: JobView | None, *, being_graded: bool) -> PastRun:
        result, costs = run.result, run.costs()
        scores, damage = self._scores(run.run_id)
        live = being_graded or (job is not None and job.state == "running")
        state: State = "evaluating" if live else "saved" if run.spec.stop_after is not None else "finished"
        return PastRun(
            **told.of(run.run_id, run.spec.model_dump(mode="json")),
            method=run.spec.method,
            dataset=run.spec.dataset,
            dataset_name=result["dataset_name"],
            state=state,
            job=job.id if job else "",
            message=damage or (job.message if job and scores is None else ""),
            created=result["created"],
            rows=result["rows"],
            kept=result["kept"],
            steps=result["steps"],
            planned_steps=run.spec.optim.steps if run.spec.stop_after is not None else result["steps"],
            kept_step=None,
            seconds=result["seconds"],
            memory_mb=_peak(costs),
            cost="" if costs is None else cost_words(costs),
            curve=self._curves.of_run(run.folder),
            example=result.get("example"),
            hs=scores.hs if scores else None,
            fa=scores.fa if scores else None,
            over_refusal=scores.over_refusal if scores else None,
            was="" if run.spec.stop_after is None else run.spec.model_copy(update={"stop_after": None}).run_id,
        )

    def _scores(self, run_id: str) -> tuple[EvaluationResult | None, str]:
        """What a run scored, or why that is not known."""
        try:
            return graded(self.workspace, run_id), ""
        except StoreError as exc:
            return None, str(exc)

    def _unfinished(self, run_id: str, job: JobView, told: _Told) -> PastRun:
        spec, curve = job.params["spec"], self._curves.of_job(job)
        kept = newest_checkpoint(checkpoint_folder(self.workspace, run_id))
        training = job.state == "running" and trains(job.stage)
        began = datetime.fromtimestamp(job.started or job.created, UTC)
        return PastRun(
            **told.of(run_id, spec),
            **_bare(self.workspace, spec),
            state=_state(job),
            job=job.id,
            message=job.message,
            created=began.isoformat(timespec="seconds"),
            steps=job.done if training else curve[-1][0] if curve else kept[0] if kept else 0,
            planned_steps=job.total if training and job.total else spec.get("optim", {}).get("steps"),
            kept_step=kept[0] if kept else None,
            seconds=(job.finished or time.time()) - job.started if job.started else None,
            curve=curve,
        )

    def _left(self, told: _Told, *, besides: Collection[str]) -> list[PastRun]:
        """Runs of which nothing but checkpoints is left, or is there yet."""
        found = []
        folders = {path.name.removeprefix("run-"): path for path in (self.workspace.root / UNFINISHED).glob("run-*")}
        for run_id in folders.keys() - set(besides):
            spec, kept = _spec_left(folders[run_id]), newest_checkpoint(folders[run_id])
            if spec is not None and kept is not None:
                written = datetime.fromtimestamp(kept[1].stat().st_mtime, UTC)
                facts = {**told.of(run_id, spec), **_bare(self.workspace, spec), "created": written.isoformat(timespec="seconds")}
                steps = {"steps": kept[0], "kept_step": kept[0], "planned_steps": spec.get("optim", {}).get("steps")}
                found.append(PastRun(**facts, **steps, state="left", job="", message="", seconds=None, curve=()))
        return found


@dataclass(frozen=True)
class _Told:
    """What people said of runs, their names, and those that we would give them."""

    notes: Mapping[str, RunNote]
    names: Mapping[str, str]
    generated: Mapping[str, str]

    def of(self, run_id: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of one run that tell these."""
        note = self.notes.get(run_id, NOTHING)
        generated = self.generated.get(run_id) or f"{head(spec)} ({run_id})"
        title = self.names.get(run_id) or note.name or generated
        return {"run_id": run_id, "title": title, "generated": generated, "note": note}


def _state(job: JobView) -> State:
    """How the run of a job stands that has not trained to its end."""
    if job.state == "running":
        return "training" if trains(job.stage) else "preparing"
    return "finished" if job.state == "done" else job.state


def _bare(workspace: Workspace, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a run that has no results."""
    dataset = str(spec.get("dataset", ""))
    nothing = dict.fromkeys(("rows", "kept", "memory_mb", "example", "hs", "fa", "over_refusal"))
    return {"method": str(spec.get("method", "sft")), "dataset": dataset, "dataset_name": _name(workspace, dataset), "cost": "", **nothing}


def _name(workspace: Workspace, dataset: str) -> str:
    try:
        return open_dataset(workspace, dataset).name
    except StoreError:
        return dataset  # it was deleted: no finished run held it


def _peak(costs: Mapping[str, Any] | None) -> int | None:
    return max((stage["memory_mb"] or 0 for stage in costs["stages"]), default=0) or None if costs else None


def _spec_left(kept: Path) -> dict[str, Any] | None:
    """The settings of an unfinished run as its newest checkpoint tells them; None without a readable one."""
    found = newest_checkpoint(kept)
    return None if found is None else _facts(found[1], found[1].stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _facts(checkpoint: Path, _written: int) -> dict[str, Any] | None:
    try:
        spec = RunSpec.checked(**read_json(checkpoint / "state.json")["facts"]["spec"])
    except (StoreError, SpecError, KeyError, TypeError):
        return None  # damaged, or of another version: it cannot be gone on from either
    return spec.model_dump(mode="json")
