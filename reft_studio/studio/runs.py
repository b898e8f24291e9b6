"""Runs: plan and start them, name, tag and annotate them, compare their settings, let them go on, delete them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reft_studio.errors import SpecError, StoreError
from reft_studio.evaluation.suite import Suite
from reft_studio.jobs.queue import JobQueue
from reft_studio.store import run_notes
from reft_studio.store.decisions import DecisionLog
from reft_studio.store.run_notes import RunNote
from reft_studio.studio import plans, run_deletion, run_filter
from reft_studio.studio.models import Models
from reft_studio.studio.past_runs import FELL, STATES, PastRun, PastRuns
from reft_studio.studio.remedies import untimed
from reft_studio.studio.run_deletion import Deletion
from reft_studio.studio.run_form import RunForm, RunPlan, RunSummary, summaries
from reft_studio.studio.training import Training, run_params
from reft_studio.training.naming import Setting, describe
from reft_studio.training.run_folder import open_run
from reft_studio.training.run_names import resolver, run_title, titles
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace

UNSET = "not set"


@dataclass(frozen=True)
class SettingDifference:
    """A setting in which runs differ, as the form calls it, with its value in each of them."""

    key: str
    label: str
    values: tuple[str, ...]


class Runs:
    """The runs of a workspace."""

    def __init__(self, workspace: Workspace, jobs: JobQueue, models: Models, training: Training) -> None:
        self.workspace, self.jobs, self.models, self.training = workspace, jobs, models, training
        self.past = PastRuns(workspace, jobs)

    def plan(self, form: RunForm, *, suite: Suite | None = None) -> RunPlan:
        """What a form means, with `suite` instead of the prompts that are set. Raises SpecError or PrerequisiteError if it cannot be."""
        return plans.plan(self.workspace, form, suite=suite)

    def plan_all(self, forms: Sequence[RunForm]) -> list[RunPlan]:
        """Plans of runs that are started together; what they share is looked up once."""
        return plans.plan_all(self.workspace, forms)

    def ignores_decisions(self, spec: RunSpec) -> bool:
        """Whether people decided about rows of its data, and its filter goes by the scores alone."""
        return run_filter.ignores_decisions(DecisionLog(self.workspace), spec)

    def planner(self) -> plans.Planner:
        """Plans of several specs, with what they share looked up once."""
        return plans.Planner(self.workspace)

    def start(self, form: RunForm, *, evaluate: bool = True) -> str:
        """Queue one run, with its evaluation where prompts are set; returns the job."""
        planned = self.plan(form)
        planned.require_room()
        for source in plans.sources(self.workspace, planned.spec):
            self.models.require(source)
        params = run_params(planned, evaluate=evaluate, watch=self.training.watch())
        return self.jobs.submit("run", params, title=planned.title)

    def start_all(self, forms: Sequence[RunForm], *, evaluate: bool = True, first: bool = False) -> list[str]:
        """Queue the runs that were not done yet, in their order; `first`: before everything that waits. Returns their jobs."""
        fresh = [form for form, plan in zip(forms, self.plan_all(forms), strict=True) if not plan.done_already]
        waiting = sum(job.state == "queued" for job in self.jobs.list(1)) if first else 0
        jobs = [self.start(form, evaluate=evaluate) for form in fresh]
        for job in jobs:
            for _ in range(waiting):
                self.jobs.move(job, "up")
        return jobs

    def measure(self, planned: Sequence[RunPlan]) -> list[str]:
        """Queue the timing of some steps for each method whose time is not known; returns the jobs. No run is left by them."""
        wanted = untimed(planned)
        for plan in wanted:
            plan.require_room()
        return [
            self.jobs.submit_once(
                "measure", {"spec": plan.spec.model_dump(mode="json")}, title=f"Time some steps of {plan.title.split(', seed')[0]}"
            )
            for plan in wanted
        ]

    def disk_free(self) -> float:
        """Bytes that are free where runs are written."""
        return float(shutil.disk_usage(self.workspace.root).free)

    def finished(self) -> list[RunSummary]:
        """Finished runs, the newest first."""
        return summaries(self.workspace)

    def every(self) -> list[PastRun]:
        """All of them: those that are not over first, in the order of the queue, then by their dates, newest first."""
        return self.past.every()

    def spec(self, run_id: str) -> RunSpec:
        """The settings of a finished run. Raises StoreError if there is none."""
        return open_run(self.workspace, run_id).spec

    def titles(self) -> dict[str, str]:
        """The names of all runs by their ids."""
        return titles(self.workspace)

    def title(self, spec: RunSpec) -> str:
        """What a run with these settings is called, done or not."""
        return run_title(self.workspace, spec)

    def find(self, run_id: str) -> PastRun:
        """One of them, also by the id that it had before its training was ended early. Raises StoreError if it is gone."""
        every = self.every()
        found = next((one for one in every if one.run_id == run_id), None) or next((one for one in every if one.was == run_id), None)
        if found is None:
            raise StoreError(f"There is no run '{run_id[:40]}' in the workspace. It may have been deleted.")
        return found

    def say(
        self, run_id: str, *, by: str = "", name: str | None = None, tags: Sequence[str] | None = None, note: str | None = None
    ) -> RunNote:
        """Name, tag or annotate a run; what is None stays, an empty name brings the generated one back.

        Raises StoreError for a run that is not there, SpecError for text that is too long or a name that is taken.
        """
        run = self.find(run_id)
        line = " ".join((name or "").split()).casefold()
        if line and any(title.casefold() == line for other, title in titles(self.workspace).items() if other != run.run_id):
            raise SpecError(f"Another run is called '{' '.join(str(name).split())}'. Choose a name that no other run has.")
        return run_notes.write(self.workspace, run.run_id, by=by, name=name, tags=tags, note=note)

    def differences(self, *runs: str) -> list[SettingDifference]:
        """Settings in which runs differ, in the order in which they tell runs apart; none for the same settings."""
        specs, resolve = [self.past.settings(run) for run in runs], resolver(self.workspace)
        found = [describe(spec, resolve).settings for spec in specs]
        differing = []
        for key in dict.fromkeys(key for one in found for key in one):
            here = [one.get(key) for one in found]
            if len({repr(one.value) if one else None for one in here}) > 1:
                known = next(one for one in here if one is not None)
                label = f"{known.group}: {known.label}" if known.group else known.label
                differing.append(SettingDifference(key, label, _told_apart(here, [spec.get(key) for spec in specs])))
        return differing

    def deletion(self, run_id: str) -> Deletion:
        """What deleting a run means now, and what keeps it from going. Raises StoreError if it is gone already."""
        run = self.find(run_id)
        model = str(self.past.settings(run.run_id).get("model", "lab"))
        said = bool(run.note.name or run.note.tags or run.note.note)
        return run_deletion.planned(self.workspace, run.run_id, title=run.title, model=model, named=said)

    def delete(self, run_id: str) -> Deletion:
        """Delete a run and all that only it has; returns what went. Raises StoreError, and changes nothing, while something needs it."""
        self.workspace.require_writable()
        plan = self.deletion(run_id)
        run_deletion.delete(self.workspace, plan.run_id, title=plan.title, model=str(self.past.settings(plan.run_id).get("model", "lab")))
        return plan

    def go_on(self, run_id: str) -> str:
        """Queue a run that is not finished again, from what it kept; returns the job. Raises SpecError for one that cannot go on."""
        run = self.find(run_id)
        if run.state == "paused":
            self.jobs.resume(run.job)
        elif run.state in FELL:
            self.jobs.retry(run.job)
        elif run.state == "left":
            plan = plans.Planner(self.workspace).plan_spec(RunSpec.checked(**self.past.settings(run.run_id)))
            plan.require_room()
            params = run_params(plan, evaluate=True, watch=self.training.watch())
            return self.jobs.submit("run", params, title=run.title)
        else:
            raise SpecError(f"'{run.title}' cannot go on: {STATES[run.state].lower()} already.")
        return run.job


def _told_apart(here: Sequence[Setting | None], stored: Sequence[Any]) -> tuple[str, ...]:
    """The words of a setting in each run; where two of them are the same for different values, as for data of one name, with its id."""
    words = [one.words if one else UNSET for one in here]
    kinds = {(text, repr(one.value) if one else None) for text, one in zip(words, here, strict=True)}
    twice = {text for text, count in Counter(text for text, _ in kinds).items() if count > 1}
    return tuple(f"{text} ({value})" if text in twice else text for text, value in zip(words, stored, strict=True))
