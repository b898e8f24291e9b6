"""The Train page: what can be started, what it will do, and what has been done."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import pyarrow.compute as pc
from pydantic import Field

from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import DefenseInfo
from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.result import evaluated, load_result
from reft_studio.evaluation.suite import Suite, lab_suite
from reft_studio.jobs import lab_data
from reft_studio.jobs.text_rows import shipped_alignment
from reft_studio.lab.sets import TASKS
from reft_studio.models.memory import Work
from reft_studio.models.spec import LoraSpec, OptimSpec, Settings, preset_named, usual_preset
from reft_studio.scoring.prepared import Prepared, open_prepared
from reft_studio.scoring.scores import ScoreSet, flagged, list_score_sets
from reft_studio.stats import Estimate
from reft_studio.teacher.quick import MADE_BY as SHIPPED_PROMPTS
from reft_studio.teacher.spec import source_of
from reft_studio.teacher.teacher import TeacherInfo, list_teachers, open_teacher, prompts_at_hand
from reft_studio.training.run_folder import RunInfo, list_runs
from reft_studio.training.spec import RunSpec
from reft_studio.views.fitting import UNKNOWN, Fit, fit
from reft_studio.views.grading import stored_judge, stored_suite
from reft_studio.views.project import chosen_scores, chosen_threshold
from reft_studio.views.run_command import command
from reft_studio.workspace import Workspace

TRAINED_ON = ("harmful", "helpful")
"""The sets of a teacher that guide a run too."""


class RunForm(Settings):
    """What a person chooses to start one run; everything else follows from it."""

    dataset: str = Field(description="user data: as uploaded, or frozen by an audit")
    method: str = Field("ref_teacher", description="defense")
    model: str = Field("", description="base of the run; empty: the teacher's")
    teacher: str | None = Field(None, description="teacher that filters and guides; empty: the lab's, or the newest on a base of one's own")
    preset: str = Field("auto", description="optimizer settings; auto: the lab's for the lab, those for real models for any other base")
    optim: OptimSpec | None = Field(None, description="own optimizer settings instead of the preset")
    lora: LoraSpec | None = Field(None, description="own adapter settings; empty: the usual ones")
    method_config: dict[str, Any] = Field(default_factory=dict, description="settings of the method")
    filter: bool | None = Field(None, description="drop flagged rows; empty: as the method does, and never again on audited data")
    scorer: str | None = Field(None, description="id or name of the prepared scorer that filters; empty: the teacher's refusal feature")
    threshold: float | None = Field(None, ge=-1, le=1, description="score from which a row is flagged; empty: the one in use")
    drop: int | None = Field(None, ge=1, description="drop this many rows, the highest scores first, instead of all from a threshold on")
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
    estimate_s: float | None
    warnings: list[str]
    command: str
    preset: str
    done_already: bool
    fit: Fit = UNKNOWN


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


def plan(workspace: Workspace, form: RunForm, *, suite: Suite | None = None) -> RunPlan:
    """Turn a form into a spec; `suite` instead of the prompts it would be evaluated on.

    Raises SpecError or PrerequisiteError if something it needs is missing.
    """
    user = open_dataset(workspace, form.dataset)
    info = DEFENSES.get(form.method).info
    frozen = "lineage" in user.manifest
    filtered = (info.uses_filter and not frozen) if form.filter is None else form.filter
    scorer = open_prepared(workspace, form.scorer) if form.scorer and filtered else None
    teacher = _teacher(workspace, form, info, filtered=filtered and scorer is None)
    model = source_of(form.model) if form.model or teacher is None else teacher.model
    preset = usual_preset(model) if form.preset == "auto" else form.preset
    optim = form.optim or preset_named(preset)
    guided = info.needs_alignment and info.starts_from == "base"
    harmful, helpful = _alignment(workspace, teacher, info) if guided else (None, None)
    aligned = _aligned(workspace, model) if info.starts_from == "aligned" else None
    made_on = teacher or aligned
    spec = RunSpec.checked(
        model=model,
        dataset=user.id,
        method=form.method,
        method_config=form.method_config,
        teacher=teacher.id if teacher and (info.needs_teacher or (filtered and scorer is None)) else None,
        aligned=aligned.id if aligned else None,
        filter=filtered,
        scorer=scorer.id if scorer else None,
        threshold=_threshold(workspace, user, scorer or teacher, form) if filtered else None,
        drop=_drop(user, form) if filtered else None,
        harmful=harmful,
        helpful=helpful,
        optim=optim,
        seed=form.seed,
        **({"loading": made_on.loading, "template": made_on.template} if made_on else {}),
        **_lora(form, aligned),
    )
    removed = _would_remove(workspace, user, spec)
    steps = optim.steps or max(1, round(optim.epochs * (user.rows - (removed or 0)) / optim.batch_size))
    suite = suite or suite_for(workspace, user, model, prompts=form.prompts)
    fitting = fit(spec.model, spec.loading, Work.training(spec.optim, spec.lora, alignment=guided).on(_characters(user)))
    return RunPlan(
        spec=spec,
        suite=suite,
        judge=form.judge or stored_judge(workspace, suite),
        title=spec.title,
        rows=user.rows,
        removed=removed,
        steps=steps,
        estimate_s=_estimate(workspace, spec, steps),
        warnings=[
            *_warnings(user, frozen, filtered, suite, removed),
            *_hot(form, model, preset),
            *([fitting.warning] if fitting.warning else []),
        ],
        command=command(form, teacher=form.teacher or (teacher.id if teacher else None), preset=preset, filtered=filtered),
        preset="own" if form.optim else preset,
        done_already=(workspace.folder("runs", spec.run_id) / "result.json").is_file(),
        fit=fitting,
    )


def suite_for(workspace: Workspace, user: Dataset, model: str, *, prompts: str = "auto") -> Suite | None:
    """What models trained on this data are evaluated on: the lab's prompts for the lab, else the datasets set on the Settings page."""
    if model == "lab" and prompts == "auto":
        task = user.manifest.get("task")
        return lab_suite(task if task in TASKS else "sentiment")
    return stored_suite(workspace)


def summaries(workspace: Workspace) -> list[RunSummary]:
    """Finished runs, newest first."""
    return [_summary(workspace, run) for run in reversed(list_runs(workspace))]


def _summary(workspace: Workspace, run: RunInfo) -> RunSummary:
    graded = load_result(workspace, run.run_id) if evaluated(workspace, run.run_id) else None
    result = run.result
    return RunSummary(
        run_id=run.run_id,
        title=run.title,
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
        hs=graded.hs if graded else None,
        not_refused=graded.not_refused if graded else None,
        refused=graded.refused if graded else None,
        other=graded.other if graded else None,
        fa_lenient=graded.fa_lenient if graded else None,
        fa=graded.fa if graded else None,
        over_refusal=graded.over_refusal if graded else None,
    )


def _teacher(workspace: Workspace, form: RunForm, info: DefenseInfo, *, filtered: bool) -> TeacherInfo | None:
    """The teacher that was chosen, the lab's for the lab, else the newest on the base; None where a run needs none."""
    if form.teacher or form.model in ("", "lab"):
        return open_teacher(workspace, form.teacher or "lab")
    if not (info.needs_teacher or filtered):
        return None
    model = source_of(form.model)
    found = [one for one in list_teachers(workspace) if one.regularised and one.model == model]
    if not found:
        raise PrerequisiteError(
            f"{info.title} needs a teacher on '{form.model}', and there is none. Prepare one on the Filter page or with the verb teacher, "
            "or choose a method without a teacher, such as sft."
        )
    return found[-1]


def _lora(form: RunForm, aligned: TeacherInfo | None) -> dict[str, Any]:
    """The adapter: as asked for, or as the one that is continued."""
    if form.lora is not None:
        return {"lora": form.lora}
    return {"lora": aligned.spec["lora"]} if aligned and "lora" in aligned.spec else {}


def _hot(form: RunForm, model: str, preset: str) -> list[str]:
    """A warning where a real base would be trained with settings measured on the lab's tiny one."""
    if model == "lab" or form.optim is not None or not preset.startswith("lab"):
        return []
    rate = preset_named(preset).learning_rate
    return [f"These are the lab's settings, whose learning rate of {rate:g} is too high for a real model. Use the preset 'real'."]


def _alignment(workspace: Workspace, teacher: TeacherInfo | None, info: DefenseInfo) -> tuple[str, str]:
    """The alignment data the teacher was prepared on; the lab's, or what ships for real text, where this workspace has not got it."""
    if teacher is not None and teacher.is_lab and teacher.id in ("lab", "lab-aligned"):
        data = lab_data.alignment(workspace)
        return data.harmful, data.helpful
    if teacher is not None and info.needs_teacher and teacher.spec.get("kind") == "ready" and _prompts_only(workspace, teacher):
        raise SpecError(
            f"'{teacher.title}' is a quick teacher: it filters, but does not refuse by itself, so it cannot guide. Choose a method without "
            "guidance, such as filter_only, or prepare a trained teacher."
        )
    if teacher is None or not prompts_at_hand(workspace, teacher, TRAINED_ON) or _prompts_only(workspace, teacher):
        ready = shipped_alignment(workspace)
        return ready.harmful, ready.helpful
    return teacher.spec["harmful"], teacher.spec["helpful"]


def _prompts_only(workspace: Workspace, teacher: TeacherInfo) -> bool:
    """Whether a teacher was made from the calibration prompts that ship, which have no answers."""
    here = prompts_at_hand(workspace, teacher, TRAINED_ON)
    return here and open_dataset(workspace, teacher.spec["harmful"]).manifest.get("made_by") == SHIPPED_PROMPTS


def _aligned(workspace: Workspace, model: str) -> TeacherInfo:
    found = [info for info in list_teachers(workspace) if info.model == model and not info.regularised]
    if not found:
        raise PrerequisiteError(
            f"There are no aligned weights for '{model}' yet. Prepare a teacher with regularisation 0 on the Filter page."
        )
    return found[-1] if model != "lab" else found[0]


@lru_cache(maxsize=8)
def _characters(user: Dataset) -> tuple[int, ...]:
    """Characters of prompt and response of the first rows, for an estimate of memory."""
    found = next(user.batches(["prompt", "response"]), None)
    if found is None:
        return ()
    return tuple(pc.add(*(pc.utf8_length(found.column(name)) for name in ("prompt", "response"))).to_pylist())


def sources(workspace: Workspace, spec: RunSpec) -> set[str]:
    """The models that a run has to find on this machine: its base, and the one that its filter reads through."""
    filtering = None if spec.filters_with is None else open_prepared(workspace, spec.filters_with).spec.get("model")
    return {spec.model, *([str(filtering)] if filtering else [])}


def _scores(workspace: Workspace, user: Dataset, scorer: str) -> ScoreSet | None:
    """Finished scores of a dataset by this scorer: the ones in use if they are, else the newest."""
    chosen = chosen_scores(workspace, user.id)
    if chosen is not None and chosen.teacher == scorer:
        return chosen
    return next((one for one in reversed(list_score_sets(workspace, user.id)) if one.teacher == scorer and one.finished), None)


def _threshold(workspace: Workspace, user: Dataset, prepared: Prepared | None, form: RunForm) -> float | None:
    """The threshold of the form, else the one a person set for this dataset, if it differs from the scorer's own."""
    if prepared is None or form.drop is not None:
        return None
    score = _scores(workspace, user, prepared.id)
    threshold = form.threshold if form.threshold is not None or score is None else chosen_threshold(workspace, score)
    usual = prepared.threshold if score is None else score.threshold
    return None if threshold is None or abs(threshold - usual) < 5e-4 else threshold


def _drop(user: Dataset, form: RunForm) -> int | None:
    """The number of rows of the form. Raises SpecError if it leaves none to train on."""
    if form.drop is not None and form.drop >= user.rows:
        raise SpecError(f"drop is {form.drop:,}, but '{user.name}' has {user.rows:,} rows: leave some to train on.")
    return form.drop


def _would_remove(workspace: Workspace, user: Dataset, spec: RunSpec) -> int | None:
    """Rows the filter would drop; None if they have not been scored yet."""
    if spec.filters_with is None:
        return 0
    score = _scores(workspace, user, spec.filters_with)
    if score is None:
        return spec.drop
    if spec.drop is not None:
        return min(user.rows, spec.drop + score.missing)
    threshold = score.threshold if spec.threshold is None else spec.threshold
    return int(flagged(score.scores(), threshold).sum()) + score.missing


def _estimate(workspace: Workspace, spec: RunSpec, steps: int) -> float | None:
    """Seconds, from the speed of finished runs on the same base; None until there is one."""
    cost = DEFENSES.get(spec.method).info.cost
    speeds = [
        run.result["seconds"] / (run.result["steps"] * DEFENSES.get(run.spec.method).info.cost)
        for run in list_runs(workspace)
        if run.spec.model == spec.model and run.spec.optim.batch_size == spec.optim.batch_size
    ]
    return None if not speeds else speeds[-1] * cost * steps


def _warnings(user: Dataset, frozen: bool, filtered: bool, suite: Suite | None, removed: int | None) -> list[str]:
    found = []
    if frozen and filtered:
        found.append("This data was audited already; the filter will drop flagged rows that a reviewer kept.")
    if suite is None:
        found.append("No evaluation prompts are set, so the run will be trained but not graded. Choose them on the Settings page.")
    if removed is not None and removed > user.rows / 2:
        found.append(f"The filter removes {removed:,} of {user.rows:,} rows. Check the threshold before you spend time on this run.")
    return found
