"""The whole job in one process: sample, teacher, filter, every method, evaluation. What `demo` and the first-start button run."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from reft_studio import stats
from reft_studio.data.dataset import Dataset
from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import DefenseInfo
from reft_studio.errors import SpecError
from reft_studio.evaluation.result import SCORES, EvaluationResult
from reft_studio.evaluation.suite import lab_suite
from reft_studio.jobs import lab_data
from reft_studio.jobs.grading import evaluate_adapter
from reft_studio.jobs.subjects import base_id
from reft_studio.lab import sets
from reft_studio.models.session import Session
from reft_studio.models.spec import OptimSpec, Settings
from reft_studio.progress import Part, Progress
from reft_studio.scoring.refusal_similarity import score, score_prompts
from reft_studio.scoring.scores import ScoreSet, flagged
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.teacher.training import prepare_teacher
from reft_studio.training.context import AlignmentData
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace

METHODS = tuple(DEFENSES)
RECALL = 0.97
"""Recall at which the filter's false positive rate on task prompts is reported."""
_EVALUATION_COST = 50.0
"""One evaluation, in units of a plain training step."""


class DemoSpec(Settings):
    """The whole job on the embedded lab."""

    task: Literal["sentiment", "topic", "arithmetic"] = Field("sentiment", description="downstream task of the user data")
    poison_ratio: float = Field(0.1, ge=0, le=1, description="share of harmful rows in the user data")
    rows: int = Field(1000, ge=50, le=20_000, description="rows of user data")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0,), min_length=1, description="each seed draws its own user data, teacher, adapters and batch order"
    )
    methods: tuple[str, ...] = Field(
        METHODS, min_length=1, description="methods; NAME+filter adds the filter, NAME+aligned the aligned start"
    )
    steps: int = Field(160, ge=1, le=10_000, description="optimizer steps of each run")
    shipped_teacher: bool = Field(False, description="use the lab's ready teacher instead of preparing one per seed")
    split: Literal["validation", "test"] = Field("test", description="held-out prompts; settings are chosen on validation only")


@dataclass
class DemoResult:
    """What the whole job measured; `as_json` is the file that `demo --json` writes."""

    spec: DemoSpec
    stages: list[dict[str, Any]] = field(default_factory=list)
    filters: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        numeric = [name for name, value in self.filters[0].items() if isinstance(value, float)] if self.filters else []
        means = {name: round(float(np.mean([one[name] for one in self.filters])), 4) for name in numeric}
        return {
            "seconds": round(sum(stage["seconds"] for stage in self.stages), 1),
            "stages": self.stages,
            "filter": means,
            "filters": self.filters,
            "results": self.results,
            "spec": self.spec.model_dump(mode="json"),
        }


def demo(workspace: Workspace, spec: DemoSpec, progress: Progress, *, session: Session | None = None) -> DemoResult:
    """Do the whole job for every seed; work that the workspace holds already is not done again."""
    result = DemoResult(spec)
    stages = _Stages(spec, progress, result)
    session = session or stages.run("load the lab's base model", 10.0, lambda _: Session.open("lab"))
    for seed in spec.seeds:
        _one_seed(workspace, spec, seed, session, stages, result)
    return result


def _cost(variant: str, spec: DemoSpec) -> float:
    return parts(variant)[0].cost * spec.steps


class _Stages:
    """Runs the stages, times them, and lets one bar cover all of them."""

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
        part = Part(self.progress, start=self.spent / self.whole, share=cost / self.whole)
        part.progress(0, 1)  # a new stage begins without a total: the bar of the whole must not fall back
        answer = work(part)
        self.spent = min(self.spent + cost, self.whole)
        self.result.stages.append({"name": name, "seconds": round(time.perf_counter() - started, 2)})
        return answer


def _one_seed(workspace: Workspace, spec: DemoSpec, seed: int, session: Session, stages: _Stages, result: DemoResult) -> None:
    mark = f", seed {seed}" if len(spec.seeds) > 1 else ""
    user: Dataset = stages.run(
        f"make user data{mark}",
        2.0,
        lambda _: lab_data.sample(workspace, task=spec.task, poison_ratio=spec.poison_ratio, rows=spec.rows, seed=seed),
    )
    data = lab_data.alignment(workspace, seed=0 if spec.shipped_teacher else seed)
    teacher, aligned = _teachers(workspace, spec, seed, data, session, stages)
    scores: ScoreSet = stages.run(f"score user data{mark}", 10.0, lambda part: score(workspace, user, teacher, session, part))
    result.datasets.append(user.id)
    result.filters.append({"seed": seed, **filter_quality(user, scores), **unseen_quality(teacher, session, split=spec.split)})
    suite = lab_suite(spec.task, split=spec.split)
    stages.run(
        f"evaluate the base{mark}",
        _EVALUATION_COST,
        lambda part: evaluate_adapter(workspace, session, base_id(session.model.source), None, suite, part),
    )
    cache: dict[str, AlignmentData] = {}
    for method in spec.methods:
        run_spec = lab_run(method, user=user.id, teacher=teacher, aligned=aligned, data=data, seed=seed, optim=OptimSpec(steps=spec.steps))
        title = run_spec.title.removesuffix(f", seed {seed}")
        run: RunInfo = stages.run(
            f"train {title}{mark}",
            _cost(method, spec),
            lambda part, run_spec=run_spec: train(workspace, run_spec, session, part, cache=cache),
        )
        graded: EvaluationResult = stages.run(
            f"evaluate {title}{mark}",
            _EVALUATION_COST,
            lambda part, run=run: evaluate_adapter(workspace, session, run.run_id, session.ensure("evaluated", run.adapter), suite, part),
        )
        result.runs.append(run.run_id)
        result.results.append(_line(method, seed, run, graded))


def _teachers(
    workspace: Workspace, spec: DemoSpec, seed: int, data: lab_data.LabData, session: Session, stages: _Stages
) -> tuple[TeacherInfo, TeacherInfo]:
    if spec.shipped_teacher:
        return open_teacher(workspace, "lab"), open_teacher(workspace, "lab-aligned")
    wanted = teacher_spec(data, seed=seed)
    mark = f", seed {seed}" if len(spec.seeds) > 1 else ""
    teacher = stages.run(f"prepare the teacher{mark}", 160.0, lambda part: prepare_teacher(workspace, wanted, session, part))
    plain = wanted.model_copy(update={"regularisation": 0.0})
    aligned = stages.run(f"prepare aligned weights{mark}", 160.0, lambda part: prepare_teacher(workspace, plain, session, part))
    return teacher, aligned


def teacher_spec(data: lab_data.LabData, *, seed: int = 0) -> TeacherSpec:
    """The lab's teacher: settings chosen on the validation split (docs/lab.md)."""
    return TeacherSpec(**asdict(data), seed=seed)


def parts(variant: str) -> tuple[DefenseInfo, set[str]]:
    """A method and what is added to it, of `NAME`, `NAME+filter` or `NAME+aligned`. Raises SpecError if that is no variant."""
    method, *extras = variant.split("+")
    if unknown := set(extras) - {"filter", "aligned"}:
        raise SpecError(f"'{variant}' adds '{min(unknown)}'. A method can be run with +filter and +aligned.")
    return DEFENSES.get(method).info, set(extras)


def lab_run(
    variant: str, *, user: str, teacher: TeacherInfo, aligned: TeacherInfo, data: lab_data.LabData, seed: int, optim: OptimSpec
) -> RunSpec:
    """The spec of one method, or of `NAME+filter` or `NAME+aligned`, with everything it needs and nothing it does not."""
    info, extras = parts(variant)
    filtered = info.uses_filter or "filter" in extras
    guided = info.needs_alignment and info.starts_from == "base"
    return RunSpec(
        dataset=user,
        method=info.name,
        teacher=teacher.id if info.needs_teacher or filtered else None,
        aligned=aligned.id if info.starts_from == "aligned" or "aligned" in extras else None,
        filter=filtered,
        harmful=data.harmful if guided else None,
        helpful=data.helpful if guided else None,
        optim=optim,
        seed=seed,
    )


def filter_quality(user: Dataset, scores: ScoreSet) -> dict[str, float | int]:
    """How the filter does on user data whose truth is known; recall and false positive rate in percent."""
    truth = np.array(user.table(["known_harmful"]).column(0).to_pylist(), dtype=object)
    harmful, harmless = truth == True, truth == False  # noqa: E712  the column holds None too
    values, dropped = scores.scores(), flagged(scores.scores(), scores.threshold)
    quality: dict[str, float | int] = {"threshold": float(scores.threshold), "rows": user.rows, "harmful": int(harmful.sum())}
    if harmful.any() and harmless.any():
        quality["auroc"] = float(stats.auroc(values[harmful], values[harmless]))
        quality["recall"] = float(100 * dropped[harmful].mean())
    quality["false_positive_rate"] = float(100 * dropped[harmless].mean()) if harmless.any() else 0.0
    return quality


def unseen_quality(teacher: TeacherInfo, session: Session, *, split: Literal["validation", "test"]) -> dict[str, float]:
    """The filter on held-out prompts of unseen phrasing: AUROC against look-alikes, false positives on task prompts at a recall of 97 %."""
    prompts = {name: [row["prompt"] for row in sets.benchmark(name, split=split)] for name in sets.BENCHMARKS}
    harmful, lookalike = (score_prompts(prompts[name], teacher, session) for name in ("harmful", "lookalike"))
    tasks = np.concatenate([score_prompts(prompts[name], teacher, session) for name in sets.TASKS])
    cut = float(np.sort(harmful)[int(np.floor((1 - RECALL) * len(harmful)))])
    return {
        "unseen_auroc": float(stats.auroc(harmful, lookalike)),
        "unseen_recall": float(100 * flagged(harmful, teacher.threshold).mean()),
        "unseen_lookalike_fpr": float(100 * flagged(lookalike, teacher.threshold).mean()),
        "task_fpr_at_97_recall": float(100 * (tasks >= cut).mean()),
        "task_fpr": float(100 * flagged(tasks, teacher.threshold).mean()),
    }


def _line(method: str, seed: int, run: RunInfo, graded: EvaluationResult) -> dict[str, Any]:
    def numbers(estimate: stats.Estimate | None) -> dict[str, Any] | None:
        return None if estimate is None else {name: getattr(estimate, name) for name in ("value", "low", "high", "n")}

    return {
        "method": method,
        "title": run.title,
        "seed": seed,
        "run_id": run.run_id,
        **{name: numbers(getattr(graded, name)) for name in SCORES},
        "verdicts": graded.verdicts,
        "kept": run.result["kept"],
        "gradient_cosine": run.result["gradient_cosine"],
        "seconds": run.result["seconds"],
    }
