"""A run in training or trained, as a person looks at it: its log, what was looked at on the way, what its job printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reft_studio.errors import SpecError, StoreError
from reft_studio.jobs.queue import JobQueue
from reft_studio.jobs.view import JobView
from reft_studio.store import settings
from reft_studio.studio.run_form import RunPlan
from reft_studio.training.reporting import ReportTo as ReportTo
from reft_studio.training.reporting import check
from reft_studio.training.run_folder import open_run
from reft_studio.training.watch import EVENT as EVENT
from reft_studio.training.watch import ROWS as ROWS
from reft_studio.training.watch import WatchSpec as WatchSpec
from reft_studio.training.watch import read_watch
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

    def watch(self) -> WatchSpec:
        """How runs that are started from a page are looked at."""
        return watch_from(self.watch_text(), report_to=self.report_to())

    def watch_text(self) -> str:
        """The same in one word, as `watch_from` reads it."""
        return str(settings.get(self.workspace, "watch", "auto"))

    def report_to(self) -> ReportTo:
        """The program that is told of every step."""
        found: ReportTo = settings.get(self.workspace, "report_to", "none")
        return found

    def save_watch(self, text: str, report_to: ReportTo) -> None:
        """Look at runs so from now on. Raises SpecError or PrerequisiteError if that cannot be."""
        watch_from(text, report_to=report_to)
        check(report_to)
        settings.set(self.workspace, "watch", text)
        settings.set(self.workspace, "report_to", report_to)

    def watch_words(self) -> str:
        """The options of the command line that say the same; empty for what it does anyway."""
        text, to = self.watch_text(), self.report_to()
        return " ".join([*([] if text == "auto" else [f"--watch {text}"]), *([] if to == "none" else [f"--report-to {to}"])])

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


def watch_from(text: str, *, report_to: ReportTo = "none") -> WatchSpec:
    """How a run is looked at, from one word: auto (as often as is quick), off, or a number of steps. Raises SpecError for any other."""
    if text == "auto":
        return WatchSpec(report_to=report_to)
    if text == "off":
        return WatchSpec(prompts=0, report_to=report_to)
    if not text.isascii() or not text.isdecimal() or not int(text):
        raise SpecError(f"watch is '{text[:40]}', but it is auto, off, or a number of steps such as 20.")
    return WatchSpec(every=int(text), report_to=report_to)


def run_params(plan: RunPlan, *, evaluate: bool, watch: WatchSpec) -> dict[str, Any]:
    """The parameters of the job that does a planned run. One that is not evaluated is looked at on the same prompts all the same."""
    suite = plan.suite.model_dump(mode="json") if plan.suite else None
    looked = watch if evaluate else watch.model_copy(update={"suite": suite})
    return {
        "spec": plan.spec.model_dump(mode="json"),
        "suite": suite if evaluate else None,
        "judge": plan.judge.model_dump(mode="json"),
        "watch": looked.model_dump(mode="json", exclude_defaults=True),
    }
