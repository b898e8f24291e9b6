"""What the verb `run` does: plan, train, evaluate, print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from reft_studio.cli.console import Console, score_line, show
from reft_studio.cli.own_prompts import Prompts, suite_of
from reft_studio.errors import SpecError
from reft_studio.models.spec import usual_preset
from reft_studio.studio.evaluations import SCORES
from reft_studio.studio.run_command import changed, chosen, judge_of, specs_in
from reft_studio.studio.run_form import RunForm, RunPlan
from reft_studio.studio.studio import Studio
from reft_studio.studio.training import WatchSpec, run_params


def run(
    studio: Studio,
    given: dict[str, Any],
    settings: Sequence[str],
    prompts: Prompts,
    *,
    spec: Path | None = None,
    steps: int | None,
    evaluate: bool,
    which: Literal["auto", "own"] = "auto",
    watch: WatchSpec | None = None,
) -> None:
    """Plan one run with `settings` (`optim.steps=400`) on top of its preset or its `spec`, do it, and say what came out.

    `given` are the fields of RunForm that the command names. A file with several specs is done one after the other.
    """
    found = []
    console = Console()
    for plan in planned(studio, given, settings, prompts, spec=spec, steps=steps, evaluate=evaluate, which=which):
        found.append(_done(studio, plan, console, evaluate=evaluate, watch=watch or WatchSpec()))
    console.done()
    results = [result for result, _ in found]
    show(results[0] if len(results) == 1 else results, text=lambda: "\n".join(text for _, text in found))


def planned(
    studio: Studio,
    given: dict[str, Any],
    settings: Sequence[str],
    prompts: Prompts,
    *,
    spec: Path | None = None,
    steps: int | None = None,
    evaluate: bool = True,
    which: Literal["auto", "own"] = "auto",
) -> list[RunPlan]:
    """The plans of what was asked for. Raises SpecError if neither a file nor a dataset was named, or a setting cannot be."""
    suite = suite_of(studio, prompts) if prompts.is_own and evaluate else None
    planner = studio.runs.planner()
    if spec is not None:
        runs = [changed(one, given, settings, steps=steps) for one in specs_in(spec)]
        if given.get("heed_decisions", True) and (given.get("filter") or "dataset" in given):  # a filter that the file does not have so
            runs = [planner.heeding(one) for one in runs]
        return [planner.plan_spec(one, suite=suite, judge=judge_of(settings, method=one.method), prompts=which) for one in runs]
    if "dataset" not in given:
        raise SpecError("No data is named. Give --dataset ID (the verb list shows ids), or the spec.json of a run.")
    method, preset = given.get("method", "ref_teacher"), given.get("preset", "auto")
    if preset == "auto":
        preset = usual_preset(given.get("model") or studio.teachers.find(given.get("teacher") or "lab").model)
    values = {**given, "method": method, "prompts": which, **chosen(settings, method=method, preset=preset, steps=steps)}
    return [planner.plan(RunForm.checked(**values), suite=suite)]


def _done(studio: Studio, plan: RunPlan, console: Console, *, evaluate: bool, watch: WatchSpec) -> tuple[dict[str, Any], str]:
    """Do one run; its facts, and the same in words."""
    plan.require_room()
    for line in plan.warnings:
        console.warn(line)
    params = run_params(plan, evaluate=evaluate, watch=watch)
    result = studio.foreground.do("run", params, console)
    graded = studio.evaluations.result(result["run"]) if params["suite"] else None
    numbers = {} if graded is None else {name: value and vars(value) for name in SCORES for value in (getattr(graded, name),)}
    name = studio.runs.titles()[result["run"]]
    text = f"{name}: run {result['run']}, {result['steps']} steps on {result['kept']:,} rows, {result['removed']:,} removed "
    text += f"({result['removed_truth']}), "
    text += f"{result['seconds']:.0f} s\n{settings_line(plan)}"
    text += f"\n{score_line(graded)}" if graded else ""
    return {**result, **numbers, "warnings": plan.warnings, "preset": plan.preset}, text


def settings_line(plan: RunPlan) -> str:
    """Which optimizer settings a run used, and the most telling of them."""
    optim, lora = plan.spec.optim, plan.spec.lora
    name = "Own settings" if plan.preset == "own" else f"Settings '{plan.preset}'"
    return f"{name}: {plan.steps} steps of {optim.batch_size} rows, learning rate {optim.learning_rate:g}, LoRA rank {lora.rank}"
