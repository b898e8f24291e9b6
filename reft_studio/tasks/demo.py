"""The demo: sample, teacher, filter, every method and evaluation in one process, for the verb `demo` and the button on Home."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from reft_studio import stats
from reft_studio.data.dataset import Dataset
from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import DefenseInfo
from reft_studio.errors import SpecError
from reft_studio.evaluation.result import SCORES, EvaluationResult
from reft_studio.evaluation.subject import base_id
from reft_studio.evaluation.suite import PromptSet, Suite
from reft_studio.jobs.job import JobContext
from reft_studio.models.session import Session
from reft_studio.models.spec import PRESETS, OptimSpec, Settings
from reft_studio.progress import PartialProgress, Progress
from reft_studio.scoring.refusal_similarity import score, score_prompts
from reft_studio.scoring.scores import ScoreSet, flagged
from reft_studio.tasks.demo_data import DemoData, HeldOut, LabRows
from reft_studio.tasks.demo_teacher import Pair, open_base, real_pair
from reft_studio.tasks.evaluate import evaluate_adapter
from reft_studio.tasks.lab_data import AlignmentSets
from reft_studio.tasks.teacher import prepared
from reft_studio.tasks.text_rows import TASKS, text_rows
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.training.context import AlignmentData
from reft_studio.training.naming import head
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.training.spec import RunSpec, own_config
from reft_studio.workspace import Workspace

METHODS = ("sft", "aligned_sft", "sa_ft", "filter_only", "distill_only", "ref_teacher")
"""Methods of the demo by default: Ref-Teacher, its parts, and baselines."""
GUIDED = ("sa_ft", "distill_only", "ref_teacher")
"""Methods whose alpha weights the alignment rows against the user's rows."""
LAB_ALPHA = 0.2
"""Where the lab separates these methods: without poison all stay safe, with poison the filter decides (docs/lab.md)."""
RECALL = 0.97
"""Recall at which the filter's false positive rate on task prompts is reported."""
_EVALUATION_COST = 50.0
"""Cost of one evaluation, in plain training steps."""


class DemoSpec(Settings):
    """The demo, on the lab or on a real model."""

    model: str = Field("lab", min_length=1, description="'lab', a model folder, or a Hub id")
    data: str | None = Field(None, description="folder of public prompt sets for a real model; empty: the texts that ship")
    teacher: str | None = Field(None, description="id or folder of a teacher for a real model; empty: the shipped one that fits, if any")
    prepare: bool = Field(False, description="prepare a teacher for a real model, even if one ships")
    task: str = Field("sentiment", description="downstream task of the user data")
    poison_ratio: float = Field(0.1, ge=0, le=1, description="share of harmful rows in the user data")
    rows: int = Field(1000, ge=50, le=20_000, description="rows of user data")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0,), min_length=1, description="each seed draws its own user data, teacher, adapters and batch order"
    )
    methods: tuple[str, ...] = Field(
        METHODS, min_length=1, description="methods; NAME+filter adds the filter, NAME+aligned the aligned start"
    )
    steps: int = Field(160, ge=1, le=10_000, description="optimizer steps of each run")
    alpha: float | None = Field(None, ge=0, le=100, description="weight of guidance; empty: 0.2 on the lab, the methods' own elsewhere")
    shipped_teacher: bool = Field(False, description="use the lab's ready teacher instead of preparing one per seed")
    split: Literal["validation", "test"] = Field("test", description="held-out prompts; settings are chosen on validation only")
    own: tuple[PromptSet, ...] = Field((), description="test prompts of the user's own, instead of the set of the same name")
    prompts: int = Field(200, ge=1, description="harmful, and as many harmless, test prompts of a real model")
    task_prompts: int = Field(500, ge=1, description="test prompts of the task of a real model")
    alignment_steps: int = Field(80, ge=1, le=10_000, description="optimizer steps of aligned weights, and of a teacher, of a real model")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        allowed = TASKS["public" if self.data else "shipped"]
        if self.task not in allowed:
            raise ValueError(f"task is '{self.task}': choose one of: {', '.join(allowed)}")
        if self.is_lab and (self.data or self.teacher or self.prepare):
            raise ValueError("data, teacher and prepare are for a real model: name one with --model")
        if self.teacher and self.prepare:
            raise ValueError("give a teacher, or have one prepared, not both")
        return self

    @property
    def is_lab(self) -> bool:
        return self.model == "lab"

    @property
    def optim(self) -> OptimSpec:
        """The optimizer settings of every run."""
        return PRESETS["lab" if self.is_lab else "real"].optim.model_copy(update={"steps": self.steps})

    def config_of(self, method: str) -> dict[str, Any]:
        """Settings of a method: its defaults, except for alpha if it is given or the lab's."""
        alpha = LAB_ALPHA if self.alpha is None and self.is_lab else self.alpha
        return {} if alpha is None or method not in GUIDED else {"alpha": alpha}


@dataclass
class DemoResult:
    """Results of the demo; `as_json` is printed by `demo --json`."""

    spec: DemoSpec
    stages: list[dict[str, Any]] = field(default_factory=list)
    filters: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        numeric = [name for name, value in self.filters[0].items() if isinstance(value, float)] if self.filters else []
        means = {name: round(float(np.mean([line[name] for line in self.filters])), 4) for name in numeric}
        return {
            "seconds": round(sum(stage["seconds"] for stage in self.stages), 1),
            "stages": self.stages,
            "filter": means,
            "filters": self.filters,
            "results": self.results,
            "spec": self.spec.model_dump(mode="json"),
        }


def demo(workspace: Workspace, spec: DemoSpec, progress: Progress, *, session: Session | None = None) -> DemoResult:
    """Run the demo for every seed; work that exists in the workspace is not repeated."""
    result = DemoResult(spec)
    stages = _Stages(spec, progress, result)
    title = "load the lab's base model" if spec.is_lab else f"load {Path(spec.model).name}"
    session = session or stages.run(title, 10.0, lambda _: _opened(workspace, spec))
    data = _data(workspace, spec)
    for note in data.notes:
        progress.warn(note)
    for seed in spec.seeds:
        _Seed(workspace, spec, seed, data, session, stages, result).run()
    return result


def _opened(workspace: Workspace, spec: DemoSpec) -> Session:
    if spec.is_lab:
        return Session.open("lab", max_length=spec.optim.max_length)
    return open_base(workspace, spec.model, teacher=spec.teacher, prepare=spec.prepare, max_length=spec.optim.max_length)


def _data(workspace: Workspace, spec: DemoSpec) -> DemoData:
    if spec.is_lab:
        return LabRows(workspace, spec.task, spec.poison_ratio, spec.rows, spec.split, one_alignment=spec.shipped_teacher)
    return text_rows(
        workspace,
        Path(spec.data) if spec.data else None,
        spec.task,
        poison_ratio=spec.poison_ratio,
        rows=spec.rows,
        prompts=spec.prompts,
        task_prompts=spec.task_prompts,
    )


def _cost(variant: str, spec: DemoSpec) -> float:
    return parts(variant)[0].cost * spec.steps


class _Stages:
    """Runs and times the stages, with one progress bar for all of them."""

    def __init__(self, spec: DemoSpec, progress: Progress, result: DemoResult) -> None:
        self.progress, self.result, self.index, self.spent = progress, result, 0, 0.0
        costs = [_cost(name, spec) for name in spec.methods]
        teachers = 0.0 if spec.shipped_teacher else 320.0
        self.whole = 10.0 + len(spec.seeds) * (teachers + 20.0 + sum(costs) + _EVALUATION_COST * (len(costs) + 3))
        self.count = 1 + len(spec.seeds) * ((0 if spec.shipped_teacher else 2) + 3 + 2 * len(costs))

    def run(self, name: str, cost: float, work: Any) -> Any:
        self.index += 1
        self.progress.stage(name, self.index, max(self.count, self.index))
        started = time.perf_counter()
        part = PartialProgress(self.progress, start=self.spent / self.whole, share=cost / self.whole)
        part.progress(0, 1)  # a new stage begins without a total: the bar of the whole must not fall back
        answer = work(part)
        self.spent = min(self.spent + cost, self.whole)
        self.result.stages.append({"name": name, "seconds": round(time.perf_counter() - started, 2)})
        return answer


@dataclass(frozen=True)
class _Seed:
    """The demo for one seed."""

    workspace: Workspace
    spec: DemoSpec
    seed: int
    data: DemoData
    session: Session
    stages: _Stages
    result: DemoResult

    def run(self) -> None:
        spec, workspace, session = self.spec, self.workspace, self.session
        user: Dataset = self._stage("make user data", 2.0, lambda _: self.data.user(self.seed))
        alignment = self.data.alignment(self.seed)
        pair = self._teachers(alignment)
        scores: ScoreSet = self._stage("score user data", 10.0, lambda part: score(workspace, user, pair.teacher, session, part))
        self.result.datasets.append(user.id)
        quality = {**filter_quality(user, scores), **unseen_quality(pair.teacher, session, self.data.held_out())}
        self.result.filters.append({"seed": self.seed, **quality})
        self._evaluate("the base", base_id(session.model.source), None)
        cache: dict[str, AlignmentData] = {}
        for method in spec.methods:
            harmful = self.data.harmful_answers(self.seed) if parts(method)[0].needs_harmful else None
            run_spec = method_run(method, user=user.id, pair=pair, data=alignment, seed=self.seed, spec=spec, harmful_answers=harmful)
            title = head(run_spec.model_dump())
            run: RunInfo = self._stage(
                f"train {title}",
                _cost(method, spec),
                lambda part, run_spec=run_spec: train(workspace, run_spec, session, part, cache=cache),
            )
            graded = self._evaluate(title, run.run_id, run.adapter)
            self.result.runs.append(run.run_id)
            self.result.results.append(_line(method, self.seed, run, graded))

    def _stage(self, name: str, cost: float, work: Any) -> Any:
        return self.stages.run(f"{name}, seed {self.seed}" if len(self.spec.seeds) > 1 else name, cost, work)

    def _evaluate(self, title: str, subject: str, folder: Path | None) -> EvaluationResult:
        suite, session = self._suite(), self.session

        def work(part: PartialProgress) -> EvaluationResult:
            return evaluate_adapter(self.workspace, session, subject, session.ensure("evaluated", folder), suite, part)

        graded: EvaluationResult = self._stage(f"evaluate {title}", _EVALUATION_COST, work)
        return graded

    def _suite(self) -> Suite:
        """The suite of the data, with the user's own sets replacing its own."""
        suite, own = self.data.suite(), {part.name: part for part in self.spec.own}
        kept = [own.get(part.name, part) for part in suite.sets]
        return suite.model_copy(update={"sets": tuple(kept), "name": f"{suite.name}, own prompts"}) if own else suite

    def _teachers(self, alignment: AlignmentSets) -> Pair:
        workspace, spec = self.workspace, self.spec
        if spec.shipped_teacher:
            return Pair(open_teacher(workspace, "lab"), open_teacher(workspace, "lab-aligned"))
        if not spec.is_lab:
            return real_pair(
                workspace,
                alignment,
                self.session,
                self._stage,
                teacher=spec.teacher,
                prepare=spec.prepare,
                steps=spec.alignment_steps,
                seed=self.seed,
                sets=self.data.sets,
                warn=self.stages.progress.warn,
            )
        wanted = teacher_spec(alignment, seed=self.seed)
        teacher = self._stage("prepare the teacher", 160.0, lambda part: prepared(workspace, wanted, self.session, part))
        plain = wanted.model_copy(update={"regularisation": 0.0})
        aligned = self._stage("prepare aligned weights", 160.0, lambda part: prepared(workspace, plain, self.session, part))
        return Pair(teacher, aligned)


def teacher_spec(data: AlignmentSets, *, seed: int = 0) -> TeacherSpec:
    """The lab's teacher: settings chosen on the validation split (docs/lab.md)."""
    return TeacherSpec(**asdict(data), seed=seed)


def parts(variant: str) -> tuple[DefenseInfo, set[str]]:
    """The method and additions of `NAME`, `NAME+filter` or `NAME+aligned`. Raises SpecError for an unknown variant."""
    method, *extras = variant.split("+")
    if unknown := set(extras) - {"filter", "aligned"}:
        raise SpecError(f"'{variant}' adds '{min(unknown)}'. A method can be run with +filter and +aligned.")
    return DEFENSES.get(method).info, set(extras)


def method_run(
    variant: str, *, user: str, pair: Pair, data: AlignmentSets, seed: int, spec: DemoSpec, harmful_answers: str | None = None
) -> RunSpec:
    """The spec of one method, or of `NAME+filter` or `NAME+aligned`, with everything it needs and nothing else."""
    info, extras = parts(variant)
    filtered = info.uses_filter or "filter" in extras
    aligned = (info.starts_from == "aligned" and not info.aligns_itself) or "aligned" in extras
    guided = info.guided(aligned=aligned)
    return RunSpec(
        dataset=user,
        method=info.name,
        method_config=own_config(info.name, spec.config_of(info.name)),
        teacher=pair.teacher.id if info.needs_teacher or filtered else None,
        aligned=pair.aligned.id if aligned else None,
        filter=filtered,
        harmful=data.harmful if guided else None,
        helpful=data.helpful if guided else None,
        harmful_answers=harmful_answers if info.needs_harmful else None,
        optim=spec.optim,
        seed=seed,
        **pair.base_fields,
    )


def filter_quality(user: Dataset, scores: ScoreSet) -> dict[str, float | int]:
    """The filter's quality on labelled user data; recall and false positive rate in percent."""
    truth = np.array(user.table(["known_harmful"]).column(0).to_pylist(), dtype=object)
    harmful, harmless = truth == True, truth == False  # noqa: E712  the column holds None too
    values, dropped = scores.scores(), flagged(scores.scores(), scores.threshold)
    quality: dict[str, float | int] = {"threshold": float(scores.threshold), "rows": user.rows, "harmful": int(harmful.sum())}
    if harmful.any() and harmless.any():
        quality["auroc"] = float(stats.auroc(values[harmful], values[harmless]))
        quality["recall"] = float(100 * dropped[harmful].mean())
    quality["false_positive_rate"] = float(100 * dropped[harmless].mean()) if harmless.any() else 0.0
    return quality


def unseen_quality(teacher: TeacherInfo, session: Session, held: HeldOut) -> dict[str, float]:
    """The filter's quality on held-out prompts: AUROC against look-alikes, false positives on task prompts at a recall of 97 %."""
    harmful, lookalike, tasks = (score_prompts(held[name], teacher, session) for name in ("harmful", "lookalike", "task"))
    cut = float(np.sort(harmful)[int(np.floor((1 - RECALL) * len(harmful)))])
    return {
        "unseen_auroc": float(stats.auroc(harmful, lookalike)),
        "unseen_recall": float(100 * flagged(harmful, teacher.threshold).mean()),
        "unseen_lookalike_fpr": float(100 * flagged(lookalike, teacher.threshold).mean()),
        "task_fpr_at_97_recall": float(100 * flagged(tasks, cut).mean()),
        "task_fpr": float(100 * flagged(tasks, teacher.threshold).mean()),
    }


def _line(method: str, seed: int, run: RunInfo, graded: EvaluationResult) -> dict[str, Any]:
    def numbers(estimate: stats.Estimate | None) -> dict[str, Any] | None:
        return None if estimate is None else {name: getattr(estimate, name) for name in ("value", "low", "high", "n")}

    return {
        "method": method,
        "title": head(run.spec.model_dump()),
        "seed": seed,
        "run_id": run.run_id,
        **{name: numbers(getattr(graded, name)) for name in SCORES},
        "verdicts": graded.verdicts,
        "kept": run.result["kept"],
        "gradient_cosine": run.result["gradient_cosine"],
        "seconds": run.result["seconds"],
    }


def demo_job(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Run the demo as a job. params: the fields of DemoSpec."""
    result = demo(context.workspace, DemoSpec.checked(**params), context)
    return {**result.as_json(), "runs": result.runs, "datasets": result.datasets}
