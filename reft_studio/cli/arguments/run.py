"""The options of the verb `run`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from reft_studio.cli.arguments.options import (
    Adapters,
    Answers,
    BenchmarkName,
    Harmful,
    HarmfulAnswers,
    Harmless,
    MethodName,
    PresetName,
    Refusals,
    ReportTo,
    Setting,
    SpecFile,
    Start,
    Watch,
    Where,
    studio_at,
)
from reft_studio.evaluation.benchmarks import USUAL
from reft_studio.scoring import SCORERS


def run(
    spec: SpecFile = None,
    dataset: Annotated[str | None, typer.Option(help="id of the user data")] = None,
    method: MethodName = None,
    model: Annotated[str | None, typer.Option(help="base: a name of the shelf, a folder or a Hub id; default: the teacher's")] = None,
    teacher: Annotated[str | None, typer.Option(help="id of a teacher; default: the lab's, or the newest on --model")] = None,
    start: Start = None,
    adapters: Adapters = None,
    harmful_answers: HarmfulAnswers = None,
    refusals: Refusals = None,
    answers: Answers = None,
    preset: PresetName = None,
    steps: Annotated[int | None, typer.Option(help="optimizer steps; default: the preset's")] = None,
    setting: Setting = None,
    filter_by: Annotated[
        str | None,
        typer.Option("--filter", help=f"scorer whose flagged rows are dropped, or a prepared one's id: {', '.join(SCORERS)}"),
    ] = None,
    no_filter: Annotated[bool, typer.Option("--no-filter", help="drop nothing; default: as the method does")] = False,
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="score from which a row is flagged; default: the one in use for the dataset")
    ] = None,
    drop: Annotated[
        int | None,
        typer.Option(min=1, help="drop this many rows, the highest scores first; with --filter random: the control that removes by chance"),
    ] = None,
    decisions: Annotated[bool, typer.Option(help="what people decided about rows goes before the threshold")] = True,
    seed: Annotated[int | None, typer.Option(help="seeds adapter and batch order; default: 0")] = None,
    evaluate: Annotated[bool, typer.Option(help="evaluate the finetuned model afterwards")] = True,
    prompts: Annotated[Literal["auto", "own"], typer.Option(help="own: the prompts set on the Settings page, for the lab too")] = "auto",
    harmful: Harmful = None,
    harmless: Harmless = None,
    task: Annotated[str | None, typer.Option(help="evaluate with this file or dataset of questions with right answers (FA)")] = None,
    benchmark: BenchmarkName = USUAL,
    rows: Annotated[int | None, typer.Option(min=1, help="first rows of each file of prompts; default: all")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=4096, help="longest answer to your own prompts, in tokens")] = 256,
    watch: Watch = "auto",
    report_to: ReportTo = "none",
    workspace: Where = None,
) -> None:
    """Finetune with one method and evaluate the result; or do the runs of a spec.json."""
    from reft_studio.cli import run as verb
    from reft_studio.cli.own_prompts import Prompts
    from reft_studio.studio.run_command import filtering
    from reft_studio.studio.training import watch_from

    given: dict[str, Any] = {"dataset": dataset, "method": method, "model": model, "teacher": teacher, "preset": preset, "seed": seed}
    given |= {"start": start, "adapters": adapters, "harmful_answers": harmful_answers, "refusals": refusals, "answers": answers}
    given |= {**filtering(filter_by, none=no_filter), "threshold": threshold, "drop": drop, "heed_decisions": None if decisions else False}
    given = {name: value for name, value in given.items() if value is not None}
    asked = Prompts("", harmful, harmless, task or "sentiment", benchmark, rows, max_new_tokens)
    looks = watch_from(watch, report_to=report_to)
    verb.run(studio_at(workspace), given, setting or [], asked, spec=spec, steps=steps, evaluate=evaluate, which=prompts, watch=looks)
