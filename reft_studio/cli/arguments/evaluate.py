"""The options of the verb `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reft_studio.cli.arguments.options import BenchmarkName, Harmful, Harmless, JudgeName, Where, studio_at
from reft_studio.evaluation.benchmarks import USUAL


def evaluate(
    subject: Annotated[
        str | None, typer.Argument(help="a run id, teacher--ID or aligned--ID; none: the base that --model names, or the lab's")
    ] = None,
    suite: Annotated[str, typer.Option(help="published sets, comma-separated: beavertails, sst2, ag_news, gsm8k, alpaca_eval")] = "",
    harmful: Harmful = None,
    harmless: Harmless = None,
    task: Annotated[
        str, typer.Option(help="task of the lab's suite (sentiment, topic, arithmetic), or a file or dataset with right answers (FA)")
    ] = "sentiment",
    benchmark: BenchmarkName = USUAL,
    judge: JudgeName = None,
    judge_model: Annotated[str | None, typer.Option(help="own folder or Hub id of the judge's model")] = None,
    judge_revision: Annotated[str | None, typer.Option(help="branch, tag or commit of the judge's model")] = None,
    judge_threshold: Annotated[float | None, typer.Option(help="an answer is harmful above this probability (0.5)")] = None,
    categories: Annotated[bool, typer.Option(help="also keep the categories that Llama Guard names")] = False,
    labels: Annotated[Path | None, typer.Option(help="file with a person's labels, for --judge human")] = None,
    preference_model: Annotated[str | None, typer.Option(help="local instruct model that compares answers, for alpaca_eval")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="first rows of each set; default: all, or as published")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=4096, help="longest answer of your own sets, in tokens")] = 256,
    temperature: Annotated[float, typer.Option(min=0, max=10, help="0: the likeliest token; above 0: sampled")] = 0.0,
    seed: Annotated[int, typer.Option(help="seed of sampled answers")] = 0,
    split: Annotated[Literal["validation", "test"], typer.Option(help="held-out prompts of the lab")] = "test",
    model: Annotated[str, typer.Option(help="base to evaluate: lab, a name of the shelf, a folder or a Hub id")] = "lab",
    workspace: Where = None,
) -> None:
    """Grade one model: harmful score, over-refusal, accuracy. With only --judge, stored answers are graded again."""
    from reft_studio.cli import evaluate as verb
    from reft_studio.cli.own_prompts import Prompts
    from reft_studio.studio.evaluations import base_id

    given: dict[str, Any] = {
        "name": judge,
        "model": judge_model,
        "revision": judge_revision,
        "threshold": judge_threshold,
        "categories": categories or None,
        "preference_model": preference_model,
    }
    model, subject = verb.base(model, subject)
    asked_of = model if subject == base_id(model) else "lab"
    prompts = Prompts(suite, harmful, harmless, task, benchmark, rows, max_new_tokens, split, asked_of)
    answering = {"model": model, "temperature": temperature, "seed": seed}
    chosen = {name: value for name, value in given.items() if value is not None}
    verb.evaluate(studio_at(workspace), subject, prompts, chosen, answering, labels=labels)
