"""A run as a form: what can be asked for, what that means, and what has been done."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from reft_studio.defenses.defense import Start
from reft_studio.errors import PrerequisiteError
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.result import EvaluationResult, load_result
from reft_studio.evaluation.suite import Suite
from reft_studio.models.spec import LoadSpec, LoraSpec, OptimSpec, Settings
from reft_studio.stats import Estimate
from reft_studio.studio.memory import UNKNOWN, Fit
from reft_studio.studio.run_needs import Time
from reft_studio.training.run_folder import RunInfo, list_runs
from reft_studio.training.run_names import run_names
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace


class RunForm(Settings):
    """What a person chooses to start one run; everything else follows from it."""

    dataset: str = Field(description="user data: as uploaded, or frozen by an audit")
    method: str = Field("ref_teacher", description="defense")
    model: str = Field("", description="base of the run; empty: the teacher's")
    teacher: str | None = Field(None, description="teacher that filters and guides; empty: the lab's, or the newest on a base of one's own")
    preset: str = Field(
        "auto", description="settings of optimizer and adapter; auto: the lab's for the lab, those for real models for any other base"
    )
    optim: OptimSpec | None = Field(None, description="own optimizer settings instead of the preset")
    lora: LoraSpec | None = Field(None, description="own adapter settings instead of the preset's")
    loading: LoadSpec | None = Field(None, description="how the base is held in memory; empty: as its teacher was prepared, else the usual")
    method_config: dict[str, Any] = Field(default_factory=dict, description="settings of the method")
    filter: bool | None = Field(None, description="drop flagged rows; empty: as the method does, and never again on audited data")
    scorer: str | None = Field(None, description="id or name of the prepared scorer that filters; empty: the teacher's refusal feature")
    threshold: float | None = Field(None, ge=-1, le=1, description="score from which a row is flagged; empty: the one in use")
    drop: int | None = Field(None, ge=1, description="drop this many rows, the highest scores first, instead of all from a threshold on")
    heed_decisions: bool = Field(True, description="what people decided about rows goes before the threshold; off: the scores alone decide")
    start: Start = Field("method", description="where training starts: where the method does, from aligned weights, or from the base")
    adapters: Literal["continue", "fresh"] = Field(
        "continue", description="from aligned weights: continue their adapter, or train a fresh one on top of it"
    )
    harmful_answers: str | None = Field(
        None, description="harmful prompts with harmful answers, for methods that learn from them; empty: placeholders without content"
    )
    refusals: str | None = Field(None, description="alignment data: harmful prompts with refusals; empty: those its teacher was made of")
    answers: str | None = Field(None, description="alignment data: harmless prompts with answers; empty: those its teacher was made of")
    seed: int = Field(0, ge=0, description="seeds adapter and batch order")
    prompts: Literal["auto", "own"] = Field("auto", description="auto: the lab's prompts for the lab's base, own ones for any other")
    judge: JudgeSpec | None = Field(None, description="judge of harmful answers; empty: the one chosen on the Settings page")


@dataclass(frozen=True)
class RunPlan:
    """What a form means: the spec, what it will train on, about how long it takes, and the command that does the same."""

    spec: RunSpec
    suite: Suite | None
    judge: JudgeSpec
    title: str
    rows: int
    removed: int | None
    steps: int
    time: Time | None
    warnings: list[str]
    command: str
    preset: str
    done_already: bool
    fit: Fit = UNKNOWN
    disk: float | None = None
    """Bytes that it writes while it goes; None if the model is not on this machine."""

    @property
    def estimate_s(self) -> float | None:
        """Seconds of training, with what comes before the user's data, and evaluation, so far as those were timed."""
        if self.time is None:
            return None
        return self.time.training + (self.time.stages or 0.0) + ((self.time.evaluation or 0.0) if self.suite else 0.0)

    def require_room(self) -> None:
        """Raises PrerequisiteError, with what would fit, if the run surely does not fit into memory."""
        if self.fit.refused:
            raise PrerequisiteError(self.fit.refused)


@dataclass(frozen=True)
class RunSummary:
    """A finished run in a list; estimates are None until it is evaluated."""

    run_id: str
    title: str
    method: str
    seed: int
    dataset: str
    dataset_name: str
    poison_ratio: float | None
    rows: int
    kept: int
    steps: int
    seconds: float
    created: str
    example: str | None
    hs: Estimate | None
    not_refused: Estimate | None
    refused: Estimate | None
    other: Estimate | None
    fa: Estimate | None
    fa_lenient: Estimate | None
    over_refusal: Estimate | None


def summaries(workspace: Workspace) -> list[RunSummary]:
    """Finished runs, newest first."""
    names = run_names(workspace)
    return [_summary(workspace, run, names[run.run_id].title) for run in reversed(list_runs(workspace))]


def graded(workspace: Workspace, run_id: str) -> EvaluationResult | None:
    """What a run scored; None until it is evaluated. Read once as long as its file stays the same. Raises StoreError for a damaged one."""
    file = workspace.folder("evaluations", run_id) / "result.json"
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return _graded(workspace, run_id, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1024)
def _graded(workspace: Workspace, run_id: str, _size: int, _written: int) -> EvaluationResult:
    return load_result(workspace, run_id)


def _summary(workspace: Workspace, run: RunInfo, title: str) -> RunSummary:
    scores, result = graded(workspace, run.run_id), run.result
    return RunSummary(
        run_id=run.run_id,
        title=title,
        method=run.spec.method,
        seed=run.spec.seed,
        dataset=run.spec.dataset,
        dataset_name=result["dataset_name"],
        poison_ratio=result["poison_ratio"],
        rows=result["rows"],
        kept=result["kept"],
        steps=result["steps"],
        seconds=result["seconds"],
        created=result["created"],
        example=result.get("example"),
        hs=scores.hs if scores else None,
        not_refused=scores.not_refused if scores else None,
        refused=scores.refused if scores else None,
        other=scores.other if scores else None,
        fa_lenient=scores.fa_lenient if scores else None,
        fa=scores.fa if scores else None,
        over_refusal=scores.over_refusal if scores else None,
    )
