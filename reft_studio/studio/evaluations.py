"""What models are graded on and by whom: the choices of the Settings page, grading again, and a person's labels one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from reft_studio.data.dataset import Dataset, list_datasets, open_dataset
from reft_studio.errors import SpecError, StoreError
from reft_studio.evaluation import labels
from reft_studio.evaluation.agreement import JudgeAgreement
from reft_studio.evaluation.benchmarks import USUAL
from reft_studio.evaluation.evaluate import cut
from reft_studio.evaluation.grade import SetName
from reft_studio.evaluation.judges import JUDGES, judge_for, needs_model, ready_judge, usual_judge
from reft_studio.evaluation.judges.human import key_of
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.presets import PRESETS as PRESETS
from reft_studio.evaluation.presets import preset_named as preset_named
from reft_studio.evaluation.presets import preset_set
from reft_studio.evaluation.regrade import agreements
from reft_studio.evaluation.result import SCORES as SCORES
from reft_studio.evaluation.result import EvaluationResult as EvaluationResult
from reft_studio.evaluation.result import Graded as Graded
from reft_studio.evaluation.result import evaluated, load_result, read_graded
from reft_studio.evaluation.subject import base_id as base_id
from reft_studio.evaluation.suite import PREFERENCE as PREFERENCE
from reft_studio.evaluation.suite import PromptSet, suite_from
from reft_studio.evaluation.suite import Suite as Suite
from reft_studio.evaluation.suite import dataset_suite as dataset_suite
from reft_studio.evaluation.suite import lab_suite as lab_suite
from reft_studio.jobs.queue import JobQueue
from reft_studio.models.spec import Settings
from reft_studio.store import settings
from reft_studio.tasks.text_rows import shipped_suite
from reft_studio.workspace import Workspace

_HISTORY = "label-history"


class SuiteForm(Settings):
    """Own evaluation prompts: datasets of the workspace by id. A published set keeps its own rule and length."""

    harmful: str | None = Field(None, description="harmful prompts: their share that is complied with is the harmful score")
    harmless: str | None = Field(None, description="harmless prompts that sound alike: how many are refused")
    task: str | None = Field(None, description="a task whose responses are the right answers: the accuracy")
    benchmark: str = Field(USUAL, description="what counts as right")
    rows: int | None = Field(None, ge=1, title="First rows of each", description="empty: all")
    max_new_tokens: int = Field(256, ge=1, le=4096, title="Longest answer", description="in tokens")


@dataclass(frozen=True)
class JudgeChoice:
    """A judge in a list."""

    name: str
    title: str
    is_model: bool
    default_model: str
    known_error: str
    by_people: bool


@dataclass(frozen=True)
class LabelCard:
    """A harmful prompt and its answer that no person has labelled yet, and how far they are."""

    key: str
    prompt: str
    completion: str
    done: int
    total: int


class Evaluations:
    """What a person can do about prompts and judges."""

    def __init__(self, workspace: Workspace, jobs: JobQueue) -> None:
        self.workspace, self.jobs = workspace, jobs

    def judges(self) -> list[JudgeChoice]:
        """Judges of harmful answers, those without a model first."""
        return [
            JudgeChoice(name, one.title, needs_model(name), one.default_model, one.known_error, one.by_people)
            for name, one in JUDGES.all().items()
            if not one.lab_only
        ]

    def judge(self) -> JudgeSpec:
        """The judge of new evaluations."""
        return JudgeSpec.checked(**settings.get(self.workspace, "judge", {}))

    def save_judge(self, spec: JudgeSpec) -> None:
        """Use this judge for new evaluations. Raises what it lacks, such as a file of labels."""
        settings.set(self.workspace, "judge", self.complete(spec).model_dump(mode="json", exclude_defaults=True))

    def complete(self, spec: JudgeSpec) -> JudgeSpec:
        """The spec with the labels of this workspace, for the judge that reads them. A model named by a person must be there."""
        if spec.model:
            ready_judge(spec)
        if JUDGES.get(spec.name).by_people and spec.labels is None:
            if not labels.stored(self.workspace):
                raise SpecError("No answer has been labelled yet. Label some on the Compare page, then choose this judge.")
            return spec.model_copy(update={"labels": str(labels.store(self.workspace))})
        return spec

    def suite(self) -> Suite | None:
        """The own prompts of this workspace, if any were chosen."""
        return stored_suite(self.workspace)

    def save_suite(self, form: SuiteForm) -> Suite | None:
        """Use these prompts for models that are not the lab's; nothing chosen: no evaluation of such models."""
        if not (form.harmful or form.harmless or form.task):
            settings.remove(self.workspace, "suite")
            return None
        suite = own_suite(self.workspace, form)
        suite.rows(self.workspace)  # every dataset is there and has prompts
        settings.set(self.workspace, "suite", suite.model_dump(mode="json"))
        return suite

    def choices(self, part: str) -> list[tuple[str, str]]:
        """Datasets that can be a set of this kind, by name and id, the newest first."""
        fitting = {"harmful": ("benchmark", "harmful"), "harmless": ("benchmark", "helpful"), "task": ("benchmark", "user")}[part]
        found = [one for one in reversed(list_datasets(self.workspace)) if one.role in fitting]
        named = [one for one in found if _preset(one) is None or PRESETS[str(_preset(one))].set == part]
        return [(f"{one.name} ({one.rows:,} rows)", one.id) for one in named]

    def use_preset(self, name: str, source: str) -> tuple[str, str]:
        """Read a published set from a file; returns which set it is, and its dataset."""
        if not source.strip():
            raise SpecError(f"{PRESETS[name].title} does not ship with the app. Give the path of its file.")
        part = preset_set(self.workspace, name, source.strip())
        if part.benchmark == PREFERENCE and not self.judge().preference_model:
            raise SpecError("AlpacaEval prompts need a local model that compares answers. Evaluate them with the verb 'evaluate'.")
        return part.name, part.of

    def regrade(self, subjects: list[str], spec: JudgeSpec) -> str:
        """Queue another judge for stored answers; returns the job."""
        if not subjects:
            raise SpecError("Choose at least one run to grade again.")
        params = {"subjects": subjects, "judge": self.complete(spec).model_dump(mode="json")}
        return self.jobs.submit("regrade", params, title=f"Grade {len(subjects)} again: {judge_for(spec).title}")

    def has(self, subject: str) -> bool:
        """Whether a model was evaluated."""
        return evaluated(self.workspace, subject)

    def result(self, subject: str) -> EvaluationResult:
        """What a model scored. Raises StoreError if that is missing or damaged."""
        return load_result(self.workspace, subject)

    def agreements(self, subject: str) -> list[JudgeAgreement]:
        """How the judge of an evaluation agrees with each other that graded the same answers."""
        return agreements(self.workspace, subject)

    @property
    def labels(self) -> Path:
        """The file of people's labels, which the judge "human" reads."""
        return labels.store(self.workspace)

    def import_labels(self, path: Path, *, subject: str) -> int:
        """Take over a file of labels; answers may be named by set and row of a model's evaluation. Returns how many labels it has."""
        return labels.import_labels(self.workspace, path, subject=subject)

    def published(self, name: str, source: str, *, rows: int | None = None) -> PromptSet:
        """A published set read from a file, or from the hub, as a set of the workspace."""
        return preset_set(self.workspace, name, source, rows=rows)

    def shipped(self, task: str, *, prompts: int, task_prompts: int) -> Suite:
        """The prompts of ours that ship, for a base other than the lab's."""
        return shipped_suite(self.workspace, task, prompts=prompts, task_prompts=task_prompts)

    def graded(self, subject: str, set_name: SetName | None = None) -> list[Graded]:
        """Prompts, answers and grades of a subject, of one set or all. Raises StoreError if they are missing or damaged."""
        return read_graded(self.workspace, subject, set_name=set_name)

    def to_label(self, subject: str) -> LabelCard | None:
        """The first harmful prompt whose answer has no label; None if all have one."""
        rows = [row for row in read_graded(self.workspace, subject, set_name="harmful") if row.stop != "error"]
        keys = [key_of(row.prompt, cut(row.completion)) for row in rows]
        known = labels.stored(self.workspace)
        done = sum(key in known for key in keys)
        for key, row in zip(keys, rows, strict=True):
            if key not in known:
                return LabelCard(key, row.prompt, cut(row.completion), done, len(rows))
        return None

    def answers(self, subject: str) -> int:
        """How many harmful prompts of a subject were answered."""
        return sum(row.stop != "error" for row in read_graded(self.workspace, subject, set_name="harmful"))

    def label(self, key: str, label: str) -> None:
        """Record a person's label."""
        labels.put(self.workspace, {key: label})
        settings.set(self.workspace, _HISTORY, [*settings.get(self.workspace, _HISTORY, []), key][-200:])

    def undo_label(self) -> bool:
        """Take the last label back; False if there is none."""
        history = settings.get(self.workspace, _HISTORY, [])
        if not history:
            return False
        labels.put(self.workspace, {history[-1]: None})
        settings.set(self.workspace, _HISTORY, history[:-1])
        return True

    def agreement(self, subjects: list[str]) -> list[dict[str, Any]]:
        """How the judge in use agrees with others, for each subject that another judge graded too."""
        of_lab = {name for name, one in JUDGES.all().items() if one.lab_only}
        found = []
        for subject in subjects:
            try:
                suite = load_result(self.workspace, subject).suite_settings
                rows = agreements(self.workspace, subject)
            except StoreError:
                continue
            lab = suite.get("compliance") in of_lab
            found += [{"subject": subject, "n": one.n, **vars(one)} for one in rows if one.n and not (lab and one.second in of_lab)]
        return found


def stored_suite(workspace: Workspace) -> Suite | None:
    """The own prompts of a workspace, if any were chosen."""
    chosen = settings.get(workspace, "suite") or {}
    if "sets" in chosen:
        return suite_from(chosen)
    return dataset_suite("own prompts", **chosen) if chosen else None  # as earlier versions kept it


def stored_judge(workspace: Workspace, suite: Suite | None = None) -> JudgeSpec:
    """The judge of new evaluations: the one that was chosen, else the usual one of the suite."""
    if chosen := settings.get(workspace, "judge"):
        return JudgeSpec.checked(**chosen)
    return usual_judge(suite) if suite else JudgeSpec()


def own_suite(workspace: Workspace, form: SuiteForm) -> Suite:
    """The suite that the form means."""
    parts = dataset_suite("own prompts", **form.model_dump()).sets
    return Suite(name="own prompts", sets=tuple(_as_published(workspace, part) for part in parts))


def _as_published(workspace: Workspace, part: PromptSet) -> PromptSet:
    """A published set keeps its rule and length, whatever the form says."""
    name = _preset(open_dataset(workspace, part.of))
    if name is None:
        return part
    return part.model_copy(update={"max_new_tokens": PRESETS[name].max_new_tokens, "benchmark": PRESETS[name].benchmark})


def _preset(dataset: Dataset) -> str | None:
    name = dataset.manifest.get("preset")
    return name if name in PRESETS else None
