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
from reft_studio.studio import project
from reft_studio.studio.audit import Audit
from reft_studio.studio.chat import Chat
from reft_studio.studio.comparison import Comparing
from reft_studio.studio.datasets import Datasets
from reft_studio.studio.device import Device
from reft_studio.studio.evaluations import Evaluations
from reft_studio.studio.example import ExampleProject
from reft_studio.studio.explain import Explaining
from reft_studio.studio.imports import Imports
from reft_studio.studio.measures import Measures
from reft_studio.studio.merged_models import MergedModels
from reft_studio.studio.models import Models
from reft_studio.studio.outcomes import Outcomes
from reft_studio.studio.reports import Reports
from reft_studio.studio.review_queue import ReviewQueue
from reft_studio.studio.reviewers import Reviewers
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
    """A workspace and what can be done in it. A part is in the file of its name here; jobs, log and host are lent by their rooms."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.log, self.host = DecisionLog(workspace), ModelHost(workspace)
        self.settings = StoredSettings(workspace)

        self.jobs, self.foreground = JobQueue(workspace), Foreground(workspace)
        self.device = Device(workspace, self.jobs, self.host)

        self.imports, self.datasets, self.rows = Imports(workspace, self.jobs), Datasets(workspace), Rows(workspace)
        self.models = Models(self.jobs)
        self.teachers = Teachers(workspace, self.jobs, self.models)
        self.scorers = Scorers(workspace, self.jobs, self.log, self.models)
        self.scoring, self.scores = Scoring(workspace, self.jobs, self.models), Scores(workspace)
        self.measures, self.explain = Measures(workspace), Explaining(workspace, self.host)

        self.audit = Audit(workspace, self.log, self.jobs)
        self.thresholds = Thresholds(self.audit)
        self.review_queue, self.reviewers = ReviewQueue(workspace, self.log), Reviewers(workspace)

        self.training = Training(workspace, self.jobs)
        self.runs = Runs(workspace, self.jobs, self.models, self.training)
        self.merged_models = MergedModels(workspace, self.jobs)
        self.evaluations = Evaluations(workspace, self.jobs)
        self.sweeps, self.outcomes = Sweeps(workspace, self.jobs, self.models), Outcomes(workspace)

        self.comparison = Comparing(workspace)
        self.chat = Chat(workspace, self.jobs, self.host)
        self.reports = Reports(workspace, self.audit)
        self.example = ExampleProject(workspace, self.jobs)
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

    def doctor(self) -> list[HealthCheck]:
        """Whether this machine and the workspace are in order."""
        return doctor.examine(self.workspace)
