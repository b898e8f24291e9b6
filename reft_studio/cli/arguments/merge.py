"""The verb `merge`: a run's adapter folded into its base, as a plain transformers folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reft_studio.cli.arguments.options import Where, studio_at


def merge(
    run: Annotated[str, typer.Argument(metavar="RUN_ID", help="id of a finished run, as the verb runs shows it")],
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder to write, not there yet or empty; default: the workspace's own place")
    ] = None,
    dtype: Annotated[
        Literal["auto", "bfloat16", "float16", "float32"], typer.Option(help="number format of the weights; auto: as the base has them")
    ] = "auto",
    workspace: Where = None,
) -> None:
    """Fold a run's adapter into its base: a folder that plain transformers loads, without PEFT and without this app.

    What it takes on the disk is compared with what is free before a weight is read.
    """
    from reft_studio.cli.console import Console, show

    console = Console()
    target = None if to is None else str(to.expanduser().absolute())
    made = studio_at(workspace).foreground.do("merge", {"run": run, "dtype": dtype, "target": target}, console)
    console.done()
    show({**made, "warnings": console.warnings}, text=lambda: _told(made))


def _told(made: dict[str, Any]) -> str:
    from reft_studio.studio.merged_models import size_words

    return f"{made['path']}: {made['title']}, merged, {size_words(made['size'])} of {made['dtype']} weights. {made['rounding_words']}"
