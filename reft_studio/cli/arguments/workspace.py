"""The options of the verbs that look into a workspace and put it in order: list, sample, inspect, query, chat, jobs, runs, delete."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from reft_studio.cli.arguments.options import Where, studio_at

DatasetId = Annotated[str, typer.Argument(help="id of a dataset")]


def list_all(
    kind: Annotated[
        Literal["all", "datasets", "scorers", "runs", "models"], typer.Argument(help="datasets, scorers, runs, or models that can chat")
    ] = "all",
    workspace: Where = None,
) -> None:
    """List what the workspace holds, with the ids that the other verbs take."""
    from reft_studio.cli import workspace as workspace_verb

    workspace_verb.list_all(studio_at(workspace), kind)


def sample(
    task: Annotated[Literal["sentiment", "topic", "arithmetic"], typer.Option(help="task of the lab")] = "sentiment",
    poison_ratio: Annotated[float, typer.Option(min=0, max=1, help="share of harmful rows")] = 0.1,
    rows: Annotated[int, typer.Option(min=10, max=100_000, help="rows in all")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="decides which rows, and their order")] = 0,
    workspace: Where = None,
) -> None:
    """Make user data of the lab with a known share of poison."""
    from reft_studio.cli import workspace as workspace_verb

    params = {"task": task, "poison_ratio": poison_ratio, "rows": rows, "seed": seed}
    workspace_verb.sample(studio_at(workspace), params)


def inspect(dataset: DatasetId, workspace: Where = None) -> None:
    """Count repeats, near-repeats, languages and lengths of a dataset."""
    from reft_studio.cli import workspace as workspace_verb

    workspace_verb.inspect(studio_at(workspace), dataset)


def query(
    dataset: DatasetId,
    sql: Annotated[
        str | None, typer.Option(help="one SELECT over rows, scores, decisions and facets; at most 1,000 rows come back")
    ] = None,
    search: Annotated[str, typer.Option(help="rows that hold these words")] = "",
    limit: Annotated[int, typer.Option(min=1, max=200, help="rows shown of a search, or of the ranking by score")] = 20,
    workspace: Where = None,
) -> None:
    """Show rows of a dataset: those an SQL question answers with, those that hold some words, or those that score highest."""
    from reft_studio.cli import workspace as workspace_verb

    workspace_verb.query(studio_at(workspace), dataset, sql=sql, search=search, limit=limit)


def chat(
    prompt: Annotated[str, typer.Argument(help="what the models are asked")],
    model: Annotated[
        list[str] | None, typer.Option(help="ids of models of one base (see `list models`); default: all of the lab's")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=1024, help="longest answer, in tokens")] = 128,
    temperature: Annotated[float, typer.Option(min=0, max=10, help="0: the likeliest token; above 0: sampled")] = 0.0,
    seed: Annotated[int, typer.Option(help="seed of sampled answers")] = 0,
    workspace: Where = None,
) -> None:
    """Ask several models the same thing; says of each answer whether it refuses."""
    from reft_studio.cli import workspace as workspace_verb

    options = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    workspace_verb.chat(studio_at(workspace), prompt, model or [], options)


def jobs(
    cancel: Annotated[str | None, typer.Option(help="id of a job to stop")] = None,
    pause: Annotated[str | None, typer.Option(help="id of a job to hold back, or to stop so that it can go on later")] = None,
    resume: Annotated[str | None, typer.Option(help="id of a paused job that is to go on: it is the next")] = None,
    first: Annotated[str | None, typer.Option(help="id of a waiting job that is to be the next")] = None,
    stop_and_save: Annotated[str | None, typer.Option(help="id of a run whose training ends now; what it learnt is kept")] = None,
    retry: Annotated[str | None, typer.Option(help="id of a stopped or failed job to queue again; it goes on from what it kept")] = None,
    anew: Annotated[bool, typer.Option("--anew", help="with --retry: from its beginning, forgetting what it kept")] = False,
    after_failure: Annotated[str | None, typer.Option(help="what waits when a job fails: 'go on' (as at first) or 'hold'")] = None,
    workspace: Where = None,
) -> None:
    """List the jobs of the app and who holds the device; stop, pause, resume, reorder or retry one. The app itself works them off."""
    from reft_studio.cli import workspace as workspace_verb

    steps = {"cancel": cancel, "pause": pause, "resume": resume, "first": first, "stop_and_save": stop_and_save}
    steps |= {"retry_anew" if anew else "retry": retry, "after_failure": after_failure}
    workspace_verb.jobs(studio_at(workspace), {name: value for name, value in steps.items() if value is not None}, anew=anew)


def runs(
    run: Annotated[list[str] | None, typer.Argument(help="ids of runs: none lists all, several are compared setting by setting")] = None,
    name: Annotated[str | None, typer.Option(help="call this run so; an empty name brings the generated one back")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="tag this run; all its tags are given anew, an empty one removes them")] = None,
    note: Annotated[str | None, typer.Option(help="note on this run; an empty one removes it")] = None,
    workspace: Where = None,
) -> None:
    """List all runs with state, tags, notes and cost; name, tag or annotate one; or show in which settings some differ."""
    from reft_studio.cli import workspace as workspace_verb

    workspace_verb.runs(studio_at(workspace), run or [], name=name, tags=tag, note=note)


def delete(
    name: Annotated[str, typer.Argument(metavar="ID", help="id of a dataset, or of a run")],
    yes: Annotated[bool, typer.Option("--yes", help="delete without asking")] = False,
    workspace: Where = None,
) -> None:
    """Delete a dataset and its scores, or a run with its adapter and evaluation; what something else rests on or needs now stays."""
    from reft_studio.cli import workspace as workspace_verb

    def sure(question: str) -> None:
        if not yes:
            typer.confirm(question, abort=True)

    workspace_verb.delete(studio_at(workspace), name, sure=sure)
