"""Studio: one method per thing a person can do. All that pages and the command line may call. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from reft_studio import doctor
from reft_studio.chat.host import ModelHost
from reft_studio.data.dataset import open_dataset
from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import DefenseInfo
from reft_studio.errors import SpecError
from reft_studio.evaluation.suite import Suite
from reft_studio.jobs.queue import JobQueue
from reft_studio.models.spec import PRESETS, Preset
from reft_studio.scoring.scores import open_score_set
from reft_studio.store import removals, settings
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio import (
    audit,
    device,
    evaluations,
    explain,
    merged_models,
    outcomes,
    plans,
    project,
    review_queue,
    reviewers,
    run_form,
)
from reft_studio.studio.chat import Chat
from reft_studio.studio.comparison import Comparing
from reft_studio.studio.datasets import Datasets
from reft_studio.studio.example import Example
from reft_studio.studio.imports import Imports
from reft_studio.studio.live_run import LiveRuns, run_params
from reft_studio.studio.measures import Measures
from reft_studio.studio.models import Models
from reft_studio.studio.reports import Reports
from reft_studio.studio.rows import Rows
from reft_studio.studio.run_history import RunHistory
from reft_studio.studio.scorers import Scorers
from reft_studio.studio.scores import Scores
from reft_studio.studio.scoring import Scoring
from reft_studio.studio.settings import StoredSettings
from reft_studio.studio.sweeps import Sweeps
from reft_studio.studio.teachers import Teachers
from reft_studio.studio.thresholds import Thresholds
from reft_studio.workspace import Workspace


class Studio:
    """A workspace with its queue of jobs, its log of decisions and its model host."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.jobs = JobQueue(workspace)
        self.log = DecisionLog(workspace)
        self.settings = StoredSettings(workspace)
        self.audit = audit.Audit(workspace, self.log, self.jobs)
        self.reports = Reports(workspace, self.audit)
        self.example = Example(workspace, self.jobs)
        self.grading = evaluations.Grading(workspace, self.jobs)
        self.datasets = Datasets(workspace)
        self.imports = Imports(workspace, self.jobs)
        self.comparison = Comparing(workspace)
        self.outcomes = outcomes.Outcomes(workspace)
        self.training = LiveRuns(workspace, self.jobs)
        self.history = RunHistory(workspace, self.jobs)
        self.merging = merged_models.Merging(workspace, self.jobs)
        self.queue = review_queue.Queue(workspace, self.log)
        self.desk = reviewers.Desk(workspace)
        self.host = ModelHost(workspace)
        self.chat = Chat(workspace, self.jobs, self.host)
        self.models = Models(self.jobs)
        self.teachers = Teachers(workspace, self.jobs, self.models)
        self.scorers = Scorers(workspace, self.jobs, self.log, self.models)
        self.scoring = Scoring(workspace, self.jobs, self.models)
        self.scores = Scores(workspace)
        self.thresholds = Thresholds(self.audit)
        self.measures = Measures(workspace)
        self.rows = Rows(workspace)
        self.sweeps = Sweeps(workspace, self.jobs, self.models)
        self.device = device.Device(workspace, self.jobs, self.host)
        self.explain = explain.Explaining(workspace, self.host)
        self._device = ""
        removals.finish_left(workspace)

    def start(self) -> None:
        """Begin working off the queue in the background; found jobs of an earlier start go on."""
        self.jobs.start_background(also=self.device.tend)

    def close(self) -> None:
        """Stop the queue's thread, the model host and what looks at files; running jobs go on and are found again."""
        self.jobs.close()
        self.host.release()
        self.imports.close()
        if self.workspace.ownership is not None:
            self.workspace.ownership.release()

    # project

    def state(self) -> project.State:
        """What the shell of every page shows."""
        self._device = self._device or doctor.device().value
        return project.state(self.workspace, self.jobs, device=self._device)

    def choose(
        self, *, dataset: str | None = None, score_key: str | None = None, threshold: float | None = None, rule: str | None = None
    ) -> None:
        """Choose the dataset to audit, its scores, or their threshold (-1 to 1), with the rule that found it, for the record.

        Raises StoreError or SpecError if that cannot be.
        """
        if dataset is not None:
            settings.set(self.workspace, "dataset", open_dataset(self.workspace, dataset).id)
        current = project.chosen_dataset(self.workspace)
        if score_key is not None and current:
            settings.set(self.workspace, f"score:{current.id}", open_score_set(self.workspace, current.id, score_key).key)
        if threshold is not None:
            if not -1 <= threshold <= 1:
                raise SpecError(f"threshold is {threshold}, but scores lie between -1 and 1: give a number between them.")
            score = project.chosen_scores(self.workspace, current.id) if current else None
            if score is None:
                raise SpecError("There are no scores to set a threshold for. Score the dataset first.")
            settings.set(self.workspace, f"threshold:{score.dataset}:{score.key}", round(threshold, 3))
            settings.set(self.workspace, f"threshold-rule:{score.dataset}:{score.key}", rule)

    # train

    def methods(self) -> list[DefenseInfo]:
        return [DEFENSES.get(method).info for method in DEFENSES]

    def presets(self) -> dict[str, Preset]:
        return dict(PRESETS)

    def plan_run(self, form: run_form.RunForm, *, suite: Suite | None = None) -> run_form.RunPlan:
        return plans.plan(self.workspace, form, suite=suite)

    def plan_runs(self, forms: Sequence[run_form.RunForm]) -> list[run_form.RunPlan]:
        """Plans of runs that are started together; what they share is looked up once."""
        return plans.plan_all(self.workspace, forms)

    def start_run(self, form: run_form.RunForm, *, evaluate: bool = True) -> str:
        """Queue one run, with its evaluation where prompts are set; returns the job."""
        planned = self.plan_run(form)
        planned.require_room()
        for source in plans.sources(self.workspace, planned.spec):
            self.models.require(source)
        params = run_params(planned, evaluate=evaluate, watch=self.training.watch())
        return self.jobs.submit("run", params, title=planned.title)

    def runs(self) -> list[run_form.RunSummary]:
        return run_form.summaries(self.workspace)

    def doctor(self) -> list[doctor.HealthCheck]:
        return doctor.examine(self.workspace)
