"""Studio: one method per thing a person can do. All that pages and the command line may call. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from reft_studio import doctor
from reft_studio.audit.threshold import Choice, ThresholdRule
from reft_studio.chat.host import ModelHost
from reft_studio.data.dataset import open_dataset
from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import DefenseInfo
from reft_studio.errors import SpecError, StoreError
from reft_studio.evaluation.suite import Suite
from reft_studio.jobs.queue import JobQueue
from reft_studio.models.spec import DEFAULT, PRESETS, LoadSpec, Preset
from reft_studio.scoring.prepared import Prepared, list_prepared, open_prepared, usual_scorer
from reft_studio.scoring.scorer import ScorerSpec
from reft_studio.scoring.scores import ScoreSet, list_score_sets, open_score_set
from reft_studio.store import removals, settings
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio import (
    audit,
    device,
    evaluations,
    explain,
    measures,
    memory,
    merged_models,
    outcomes,
    plans,
    project,
    review_queue,
    reviewers,
    runs,
    scores,
    thresholds,
)
from reft_studio.studio.chat import Chat
from reft_studio.studio.comparison import Comparing
from reft_studio.studio.datasets import Datasets
from reft_studio.studio.example import Example
from reft_studio.studio.imports import Imports
from reft_studio.studio.live_run import LiveRuns, run_params
from reft_studio.studio.live_scores import Live
from reft_studio.studio.models import Models
from reft_studio.studio.reports import Reports
from reft_studio.studio.rows import Table
from reft_studio.studio.run_history import RunHistory
from reft_studio.studio.scorers import Learning, learn_words, may_learn, prepare_scorer
from reft_studio.studio.settings import StoredSettings
from reft_studio.studio.sweeps import Sweeps
from reft_studio.teacher.spec import TeacherSpec, source_of
from reft_studio.teacher.teacher import TeacherInfo, list_teachers, open_teacher, prompts_at_hand
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
        self.measure, self.comparison = measures.Measure(workspace), Comparing(workspace)
        self.outcomes, self.table = outcomes.Outcomes(workspace), Table(workspace)
        self.live = Live(workspace, self.jobs)
        self.training = LiveRuns(workspace, self.jobs)
        self.history = RunHistory(workspace, self.jobs)
        self.merging = merged_models.Merging(workspace, self.jobs)
        self.queue = review_queue.Queue(workspace, self.log)
        self.desk = reviewers.Desk(workspace)
        self.host = ModelHost(workspace)
        self.chat = Chat(workspace, self.jobs, self.host)
        self.models = Models(self.jobs)
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

    # filter

    def teachers(self) -> list[TeacherInfo]:
        return list_teachers(self.workspace)

    def prepare_teacher(self, spec: TeacherSpec, *, pool: dict[str, Sequence[str]] | None = None) -> str:
        """Queue a preparation, with the spec's sets or ones split from `pool` (harmful and harmless sets); returns the job.

        Raises PrerequisiteError if the model surely does not fit into memory.
        """
        memory.fit_teacher(spec)
        return self.jobs.submit("teacher", spec.params(pool=pool), title=f"Prepare a teacher for {spec.model}")

    def quick_teacher(self, model: str, *, loading: LoadSpec = DEFAULT, template: str = "auto") -> str:
        """Queue a teacher without training, from the prompts that ship; returns the job. Raises PrerequisiteError as `fits` does."""
        self.fits(model, loading)
        params = {"model": source_of(model), "loading": loading.model_dump(mode="json"), "template": template}
        return self.jobs.submit("quick_teacher", params, title=f"Quick teacher for {model}")

    def teacher_map(self, teacher_id: str) -> str:
        """Queue the map of a teacher at all token positions; returns the job.

        Raises StoreError if the prompts it was made of are not in this workspace, MissingModel if its base has to be added first.
        """
        teacher = open_teacher(self.workspace, teacher_id)
        if not prompts_at_hand(self.workspace, teacher):
            raise StoreError(f"The prompts that '{teacher.title}' was made of are not in this workspace, so its map cannot be drawn here.")
        self.models.require(teacher.model)
        return self.jobs.submit_once("teacher_map", {"teacher": teacher_id}, title=f"Draw the map of {teacher.title}")

    def fits(self, model: str, loading: LoadSpec = DEFAULT) -> str:
        """Memory a model takes, in words, empty if that is not known. Raises PrerequisiteError if it is missing or surely does not fit."""
        memory.be_there(source_of(model), loading)
        return memory.fit(source_of(model), loading).memory

    def score(self, dataset_id: str, teacher: str | None = None) -> str:
        """Score every row of a dataset with a teacher, or with another prepared scorer by its id or name; returns the job.

        Without one it is `usual_scorer`. Raises MissingModel if the base that it reads through has to be added first.
        """
        teacher = teacher or usual_scorer(open_dataset(self.workspace, dataset_id))
        self.models.require(str(open_prepared(self.workspace, teacher).spec.get("model") or "lab"))
        return self.live.score(dataset_id, teacher)

    def scorers(self) -> list[Prepared]:
        """All that can score now: teachers first."""
        return list_prepared(self.workspace)

    def prepare_scorer(self, spec: ScorerSpec) -> str:
        """Queue the preparation of a scorer; returns the job. Raises MissingModel if its base has to be added first."""
        return prepare_scorer(self.jobs, self.models, spec)

    def may_learn_words(self, dataset_id: str) -> bool:
        """Whether people decided enough rows of a dataset for a word scorer to learn from them."""
        return may_learn(self.log, dataset_id)

    def learn_words(self, dataset_id: str) -> Learning:
        """Queue a word scorer that learns from the decisions on a dataset. Raises SpecError where there are too few."""
        return learn_words(self.jobs, dataset_id)

    def score_sets(self, dataset_id: str) -> list[ScoreSet]:
        return list_score_sets(self.workspace, dataset_id)

    def filter_view(self, dataset_id: str, key: str) -> scores.FilterView:
        return scores.filter_view(self.workspace, dataset_id, key)

    def language_warning(self, dataset_id: str, score: ScoreSet) -> str | None:
        """Why these scores should not be trusted: their scorer does not read the file; None if nothing speaks against it."""
        return scores.language_warning(open_dataset(self.workspace, dataset_id), score, scores.scorer_of(self.workspace, score))

    def threshold_by(self, dataset_id: str, key: str, rule: ThresholdRule) -> Choice:
        """The threshold that a rule finds for these scores, with what it promises. Changes nothing.

        Raises DataError, with the number needed, if there are too few calibration prompts that are not in the dataset.
        """
        return thresholds.found(self.audit, dataset_id, key, rule)

    def clean_sources(self, dataset_id: str, key: str) -> list[tuple[str, str]]:
        """Rows known to be harmless that the rule "clean" may take for these scores, each with a name."""
        return thresholds.clean_sources(self.audit, dataset_id, key)

    # train

    def methods(self) -> list[DefenseInfo]:
        return [DEFENSES.get(method).info for method in DEFENSES]

    def presets(self) -> dict[str, Preset]:
        return dict(PRESETS)

    def plan_run(self, form: runs.RunForm, *, suite: Suite | None = None) -> runs.RunPlan:
        return plans.plan(self.workspace, form, suite=suite)

    def plan_runs(self, forms: Sequence[runs.RunForm]) -> list[runs.RunPlan]:
        """Plans of runs that are started together; what they share is looked up once."""
        return plans.plan_all(self.workspace, forms)

    def start_run(self, form: runs.RunForm, *, evaluate: bool = True) -> str:
        """Queue one run, with its evaluation where prompts are set; returns the job."""
        planned = self.plan_run(form)
        planned.require_room()
        for source in plans.sources(self.workspace, planned.spec):
            self.models.require(source)
        params = run_params(planned, evaluate=evaluate, watch=self.training.watch())
        return self.jobs.submit("run", params, title=planned.title)

    def runs(self) -> list[runs.RunSummary]:
        return runs.summaries(self.workspace)

    def doctor(self) -> list[doctor.HealthCheck]:
        return doctor.examine(self.workspace)
