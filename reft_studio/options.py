"""Options that several verbs share, and the workspace a verb works in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from reft_studio.errors import SpecError
from reft_studio.workspace import Workspace

Where = Annotated[Path | None, typer.Option("--workspace", help="project folder; default: the user's data directory")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for machines")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="also write the result to this file")]

Harmful = Annotated[str | None, typer.Option(help="file or dataset of harmful prompts (HS)")]
Harmless = Annotated[str | None, typer.Option(help="file or dataset of harmless prompts (over-refusal)")]
N = TypeVar("N", int, float)


@contextmanager
def place_for(workspace: Path | None, *, throwaway: bool = True) -> Iterator[Workspace]:
    """The workspace named, or one that is gone afterwards: trying something out leaves the user's project as it was.

    What needs something of the user's project (not `throwaway`) is done there.
    """
    if workspace is not None or not throwaway:
        yield Workspace.open(workspace)
        return
    with tempfile.TemporaryDirectory(prefix="reft-studio-") as folder:
        yield Workspace.open(Path(folder))


def numbers(text: str, kind: type[N], example: str) -> tuple[N, ...]:
    """`0,1,2` as numbers. Raises SpecError, with an example, for what is no list of them."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as exc:
        raise SpecError(f"'{text}' is no list of numbers. Give for example {example}.") from exc
