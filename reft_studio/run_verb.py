"""What the verb `run` does: plan, train, evaluate, print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reft_studio.console import Console, score_line, show
from reft_studio.evaluation.result import SCORES, load_result
from reft_studio.jobs import tasks
from reft_studio.models.spec import usual_preset
from reft_studio.own_prompts import Prompts, suite_of
from reft_studio.studio import Studio
from reft_studio.teacher.teacher import open_teacher
from reft_studio.views.run_command import chosen
from reft_studio.views.runs import RunForm, RunPlan
from reft_studio.workspace import Workspace


def run(
    workspace: Workspace,
    form: dict[str, Any],
    settings: Sequence[str],
    prompts: Prompts,
    *,
    steps: int | None,
    evaluate: bool,
) -> None:
    """Plan one run with `settings` (`optim.steps=400`) on top of its preset, do it, and say what came out."""
    preset = form["preset"]
    if preset == "auto":
        preset = usual_preset(form.get("model") or open_teacher(workspace, form.get("teacher") or "lab").model)
    wanted = RunForm.checked(**{**form, **chosen(settings, method=form["method"], preset=preset, steps=steps)})
    suite = suite_of(workspace, prompts) if prompts.is_own and evaluate else None
    plan = Studio(workspace).plan_run(wanted, suite=suite)
    console = Console(workspace)
    for line in plan.warnings:
        console.warn(line)
    asked = plan.suite.model_dump(mode="json") if plan.suite and evaluate else None
    result = tasks.train(console, {"spec": plan.spec.model_dump(mode="json"), "suite": asked, "judge": plan.judge.model_dump(mode="json")})
    console.done()
    graded = load_result(workspace, result["run"]) if asked else None
    numbers = {} if graded is None else {name: value and vars(value) for name in SCORES for value in (getattr(graded, name),)}
    text = f"{plan.title}: run {result['run']}, {result['steps']} steps on {result['kept']:,} rows, {result['removed']:,} removed "
    text += f"({result['removed_truth']}), "
    text += f"{result['seconds']:.0f} s\n{settings_line(plan)}"
    text += f"\n{score_line(graded)}" if graded else ""
    show({**result, **numbers, "warnings": plan.warnings, "preset": plan.preset}, text=lambda: text)


def settings_line(plan: RunPlan) -> str:
    """Which optimizer settings a run used, and the most telling of them."""
    optim, lora = plan.spec.optim, plan.spec.lora
    name = "Own settings" if plan.preset == "own" else f"Settings '{plan.preset}'"
    return f"{name}: {plan.steps} steps of {optim.batch_size} rows, learning rate {optim.learning_rate:g}, LoRA rank {lora.rank}"
