"""Studio: all that pages and the command line may ask for or do, each thing by the part that it belongs to. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from reft_studio import doctor
from reft_studio.chat.host import ModelHost
from reft_studio.data.dataset import open_dataset
from reft_studio.doctor import HealthCheck as HealthCheck
from reft_studio.errors import SpecError
from reft_studio.jobs.foreground import Foreground
from reft_studio.jobs.queue import JobQueue
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
    project,
    review_queue,
    reviewers,
)
from reft_studio.studio.chat import Chat
from reft_studio.studio.comparison import Comparing
from reft_studio.studio.datasets import Datasets
from reft_studio.studio.example import ExampleProject
from reft_studio.studio.imports import Imports
from reft_studio.studio.measures import Measures
from reft_studio.studio.models import Models
from reft_studio.studio.reports import Reports
from reft_studio.studio.rows import Rows
from reft_studio.studio.runs import Runs
from reft_studio.studio.scorers import Scorers
from reft_studio.studio.scores import Scores
from reft_studio.studio.scoring import Scoring
from reft_studio.studio.settings import StoredSettings
from reft_studio.studio.sweeps import Sweeps
from reft_studio.studio.teachers import Teachers
from reft_studio.studio.thresholds import Thresholds
from reft_studio.studio.training import Training
from reft_studio.workspace import Workspace


class Studio:
    """A workspace with its queue of jobs, its log of decisions and its model host."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.jobs = JobQueue(workspace)
        self.foreground = Foreground(workspace)
        self.log = DecisionLog(workspace)
        self.settings = StoredSettings(workspace)
        self.audit = audit.Audit(workspace, self.log, self.jobs)
        self.reports = Reports(workspace, self.audit)
        self.example = ExampleProject(workspace, self.jobs)
        self.evaluations = evaluations.Evaluations(workspace, self.jobs)
        self.datasets = Datasets(workspace)
        self.imports = Imports(workspace, self.jobs)
        self.comparison = Comparing(workspace)
        self.outcomes = outcomes.Outcomes(workspace)
        self.training = Training(workspace, self.jobs)
        self.merged_models = merged_models.MergedModels(workspace, self.jobs)
        self.review_queue = review_queue.ReviewQueue(workspace, self.log)
        self.reviewers = reviewers.Reviewers(workspace)
        self.host = ModelHost(workspace)
        self.chat = Chat(workspace, self.jobs, self.host)
        self.models = Models(self.jobs)
        self.runs = Runs(workspace, self.jobs, self.models, self.training)
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

    @classmethod
    def open(cls, path: Path | None = None, *, app: bool = False) -> Self:
        """The studio of a project folder, the user's own if none is named. `app`: as in `Workspace.open`."""
        return cls(Workspace.open(path, app=app))

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

    def doctor(self) -> list[doctor.HealthCheck]:
        return doctor.examine(self.workspace)
