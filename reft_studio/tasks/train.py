"""The job that executes one run and, if a suite is given, evaluates it."""

from __future__ import annotations

from typing import Any

from reft_studio.data.dataset import open_dataset
from reft_studio.evaluation.judges import ready_judge
from reft_studio.evaluation.subject import base_id
from reft_studio.evaluation.suite import Suite, suite_from
from reft_studio.jobs.job import JobContext
from reft_studio.jobs.run_jobs import became, ended_early
from reft_studio.models.generation import free_memory
from reft_studio.models.memory import MemoryWork
from reft_studio.models.session import Session
from reft_studio.tasks.evaluate import answer_adapter, grade_answers, judge_of
from reft_studio.tasks.watch import observing
from reft_studio.training.cost import Costs
from reft_studio.training.reporting import check
from reft_studio.training.run import train as run
from reft_studio.training.run_folder import RunInfo, open_run, removed_words
from reft_studio.training.run_names import run_title
from reft_studio.training.spec import RunSpec
from reft_studio.training.watch import WatchSpec


def train_run(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Execute one run and, if a suite is given, evaluate it.

    params: spec (RunSpec), suite (Suite) or none, judge (JudgeSpec) or none, watch (WatchSpec) or none: checks during training.
    """
    spec = RunSpec.checked(**params["spec"])
    watch = _watch(params)
    suite = suite_from(params["suite"]) if params.get("suite") else None
    judge = judge_of(params, suite)
    grader = ready_judge(judge) if suite is not None else None
    stages = 2 if suite is None else 5
    context.stage("load the model", 1, stages)
    work, costs = MemoryWork.training(spec.optim, spec.lora, alignment=spec.harmful is not None), Costs()
    with costs.stage("load"):
        session = Session.open(spec.model, max_length=spec.optim.max_length, template=spec.template, loading=spec.loading, work=work)
    session.remark(context)
    context.stage(f"train: {run_title(context.workspace, spec)}", 2, stages)
    info = _ended_early(context, spec)
    if info is None:
        with observing(context, session, spec, suite, judge, watch) as observer:
            info = run(context.workspace, spec, session, context, observer=observer, anew=context.anew, costs=costs)
    if info.run_id != spec.run_id:
        became(context.workspace, context.job_id, asked=spec.run_id, run=info.run_id)
    if suite is not None and grader is not None:
        _warn_of_overlap(context, spec, suite)
        context.stage("let the finetuned model answer", 3, stages)
        adapter = session.ensure("evaluated", info.adapter)
        answers = {info.run_id: answer_adapter(context.workspace, session, info.run_id, adapter, suite, context)}
        context.stage("let the base answer", 4, stages)
        base = base_id(spec.model)
        answers[base] = answer_adapter(context.workspace, session, base, None, suite, context)
        del session  # a judge that is a model gets its memory
        free_memory()
        context.stage("grade the answers", 5, stages)
        for subject, answered in answers.items():
            grade_answers(context.workspace, subject, answered, grader, context, spec=judge)
    counts = {name: info.result[name] for name in ("kept", "removed", "steps", "seconds")}
    return {"run": info.run_id, **counts, "removed_truth": removed_words(info.result)}


def _watch(params: dict[str, Any]) -> WatchSpec:
    """The checks during training, if any. Raises PrerequisiteError if they report to a program that is not installed."""
    spec = WatchSpec.checked(**({"prompts": 0} if params.get("watch") is None else params["watch"]))
    check(spec.report_to)
    return spec


def _ended_early(context: JobContext, spec: RunSpec) -> RunInfo | None:
    """The run that an earlier attempt of this job trained until a person ended it: only its evaluation is left."""
    known = None if context.anew else ended_early(context.workspace, context.job_id)
    if known is None:
        return None
    finished = known["asked"] == spec.run_id and (context.workspace.folder("runs", known["run"]) / "result.json").is_file()
    return open_run(context.workspace, known["run"]) if finished else None


def _warn_of_overlap(context: JobContext, spec: RunSpec, suite: Suite) -> None:
    """Warn about evaluation prompts that were trained on (in any case and spacing): their grades say nothing about new prompts."""
    sets = [open_dataset(context.workspace, name) for name in (spec.dataset, spec.harmful, spec.helpful) if name]
    trained = {_plain(row["prompt"]) for dataset in sets for row in dataset.read(["prompt"])}
    for name, rows in suite.rows(context.workspace).items():
        if shared := sum(_plain(row["prompt"]) in trained for row in rows):
            context.warn(
                f"{shared} of the {len(rows)} {name} prompts of the evaluation are in the training data too; grades there mean little."
            )


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
