"""The options of the verb `scorer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reft_studio.cli.arguments.options import Where, studio_at, studio_for, verb

scorer = typer.Typer(name="scorer", help="Scorers other than teachers: which there are, and preparing one.", no_args_is_help=True)


@verb(scorer, "list")
def list_scorers(workspace: Where = None) -> None:
    """Show every scorer with what it reads and what it misses, and those that are prepared."""
    from reft_studio.cli import scorer as scorer_verb

    scorer_verb.list_scorers(studio_at(workspace))


@verb(scorer)
def prepare(
    name: Annotated[str, typer.Argument(help="which scorer; the verb 'scorer list' names all")],
    harmful: Annotated[list[str] | None, typer.Option(help="files or ids of harmful prompts")] = None,
    harmless: Annotated[list[str] | None, typer.Option(help="files or ids of harmless prompts")] = None,
    labels: Annotated[
        list[str] | None, typer.Option(help="ids of datasets whose rows that people kept or removed are examples too")
    ] = None,
    shipped: Annotated[bool, typer.Option(help="train on the prompts that ship with the app as well")] = True,
    teacher: Annotated[str | None, typer.Option(help="scorers that read through a model: the teacher whose model it is")] = None,
    weights: Annotated[Literal["teacher", "base"], typer.Option(help="with that teacher: its adapter, or its base alone")] = "teacher",
    neighbours: Annotated[int, typer.Option(help="embedding: how many of the nearest examples of each kind are compared")] = 10,
    layer: Annotated[int | None, typer.Option(help="larf: the block after which it reads; empty: the one that separates best")] = None,
    word: Annotated[list[str] | None, typer.Option(help="keywords: an own word or phrase; give as many as you like")] = None,
    match: Annotated[Literal["word", "substring"], typer.Option(help="keywords: whole words, or anywhere in a word")] = "word",
    least: Annotated[int, typer.Option(help="keywords: how many distinct words flag a row")] = 1,
    model: Annotated[str | None, typer.Option(help="llama_guard: own folder or Hub id of it; empty: Llama-Guard-3-8B")] = None,
    mode: Annotated[Literal["prompt", "answer"], typer.Option(help="llama_guard: what it is asked about")] = "answer",
    member: Annotated[list[str] | None, typer.Option(help="ensemble: id of a prepared scorer; give two or more")] = None,
    join: Annotated[
        Literal["rank", "log_odds", "any"],
        typer.Option(help="ensemble: by mean rank, calibrated log odds, or if any member flags"),
    ] = "log_odds",
    recall: Annotated[float, typer.Option(help="share of held-out harmful prompts that the threshold must flag")] = 0.97,
    seed: int = 0,
    out: Annotated[Path | None, typer.Option(help="folder for the prepared scorer; without --workspace it is kept there only")] = None,
    workspace: Where = None,
) -> None:
    """Fit a scorer on harmful and harmless prompts and set its threshold on a part that is held out."""
    from reft_studio.cli import scorer as scorer_verb

    settings: dict[str, Any] = {"scorer": name, "labels": tuple(labels or ()), "shipped": shipped, "recall": recall, "seed": seed}
    settings |= {"teacher": teacher, "weights": weights, "neighbours": neighbours, "layer": layer}
    settings |= {
        "words": tuple(word or ()),
        "match": match,
        "least": least,
        "model": model,
        "mode": mode,
        "members": tuple(member or ()),
        "join": join,
    }
    with studio_for(workspace, throwaway=out is not None and not (labels or member or teacher)) as studio:
        scorer_verb.prepare(studio, settings, harmful=harmful or [], harmless=harmless or [], out=out)


@verb(scorer)
def choose(
    data: Annotated[str, typer.Argument(help="alignment data: a file, or the id of a dataset")],
    by: Annotated[str, typer.Option(help="id of a prepared scorer, or its name")] = "pharmacist_like",
    share: Annotated[float, typer.Option(help="share of the rows that is kept: those with the lowest scores")] = 0.5,
    out: Annotated[Path | None, typer.Option(help="write the kept rows here too, in the format of the file")] = None,
    workspace: Where = None,
) -> None:
    """Keep the better part of alignment data, as a dataset that `run --refusals ID` and `teacher` take."""
    from reft_studio.cli import scorer as scorer_verb

    scorer_verb.choose(studio_at(workspace), data, by=by, share=share, out=out)
