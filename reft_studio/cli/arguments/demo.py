"""The options of the verb `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reft_studio.cli.arguments.options import BenchmarkName, Harmful, Harmless, Where, numbers, studio_for
from reft_studio.evaluation.benchmarks import USUAL


def demo(
    model: Annotated[str, typer.Option(help="base model: lab, a name of the shelf, a folder or a Hub id")] = "lab",
    data: Annotated[
        Path | None, typer.Option(help="with --model: folder of public prompt sets as Parquet; default: texts that ship")
    ] = None,
    task: Annotated[str | None, typer.Option(help="sentiment, topic or arithmetic; with --data sst2, ag_news or gsm8k")] = None,
    harmful: Harmful = None,
    harmless: Harmless = None,
    task_file: Annotated[str | None, typer.Option("--task-file", help="file or dataset of the task with right answers (FA)")] = None,
    benchmark: BenchmarkName = USUAL,
    teacher: Annotated[str | None, typer.Option(help="with --model: id or folder of a teacher; default: the one that ships for it")] = None,
    prepare: Annotated[bool, typer.Option("--prepare", help="with --model: prepare a teacher, even if one ships")] = False,
    seeds: Annotated[str, typer.Option(help="comma-separated seeds")] = "0",
    methods: Annotated[str, typer.Option(help="comma-separated methods; default: all")] = "",
    poison_ratio: Annotated[float, typer.Option(min=0, max=1, help="share of harmful rows in the user data")] = 0.1,
    rows: Annotated[int | None, typer.Option(help="rows of user data; default: 1000")] = None,
    steps: Annotated[int | None, typer.Option(help="optimizer steps of each run; default: the preset's")] = None,
    alpha: Annotated[float | None, typer.Option(help="weight of guidance; default: 0.2 on the lab, the methods' own elsewhere")] = None,
    alignment_steps: Annotated[int | None, typer.Option(help="with --model: steps of aligned weights and teacher; default: 80")] = None,
    prompts: Annotated[int | None, typer.Option(help="with --model: harmful, and as many harmless, test prompts; default: 200")] = None,
    task_prompts: Annotated[int | None, typer.Option(help="with --model: test prompts of the task; default: 500")] = None,
    split: Annotated[str, typer.Option(help="validation or test prompts of the lab")] = "test",
    workspace: Where = None,
) -> None:
    """Do the whole job headless: teacher, filter, every method, evaluation, report; on the embedded lab or on a real model.

    With --workspace a job that was stopped goes on where it was.
    """
    from reft_studio.cli.demo import run_demo
    from reft_studio.cli.own_prompts import Prompts

    wanted: dict[str, Any] = {"seeds": numbers(seeds, int, "0,1,2"), "poison_ratio": poison_ratio, "split": split}
    given = {
        "model": None if model == "lab" else model,
        "data": None if data is None else str(data),
        "task": task,
        "teacher": teacher,
        "prepare": prepare or None,
        "methods": tuple(methods.split(",")) if methods else None,
        "rows": rows,
        "steps": steps,
        "alpha": alpha,
        "alignment_steps": alignment_steps,
        "prompts": prompts,
        "task_prompts": task_prompts,
    }
    wanted |= {name: value for name, value in given.items() if value is not None}
    with studio_for(workspace) as studio:
        run_demo(studio, wanted, Prompts("", harmful, harmless, task_file or "sentiment", benchmark, max_new_tokens=64))
