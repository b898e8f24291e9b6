"""The verb `model`: the base models of this machine."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from reft_studio.cli.arguments.options import studio_for, verb
from reft_studio.cli.console import Console, show, table
from reft_studio.errors import PrerequisiteError
from reft_studio.jobs.view import JobView
from reft_studio.studio.models import PROMPTS, Offer, ShelfModel

app = typer.Typer(help="The base models of this machine: list, add, show, remove.", no_args_is_help=True, add_completion=False)
Name = Annotated[str, typer.Argument(help="name of a model, as `model list` shows it")]


@verb(app, "list")
def list_models() -> None:
    """Show the models of this machine, and those that can be added by name."""
    with studio_for(None) as studio:
        offers = studio.models.offers()
    show([asdict(offer) for offer in offers], text=lambda: _listed(offers))


@verb(app)
def add(
    source: Annotated[str, typer.Argument(help="a name of the list, a model folder, a .gguf file or a folder with one, or a Hub id")],
    name: Annotated[str | None, typer.Option(help="name to choose it by; default: made from its source")] = None,
    dtype: Annotated[Literal["auto", "bfloat16", "float32"], typer.Option(help="number format of a GGUF file's weights")] = "auto",
) -> None:
    """Add a model to this machine, for every workspace."""
    with studio_for(None) as studio:
        console = Console()
        job = studio.jobs.wait(studio.models.add(source, name=name, dtype=dtype), on_update=_FollowedJob(console))
        console.done()
        events = studio.jobs.events(job.id)
    if job.state != "done" or job.result is None:
        raise PrerequisiteError(job.message or f"Adding the model was {job.state}.")
    for event in events:
        if event["type"] == "warning":
            console.warn(str(event["message"]))
    show(job.result, text=lambda: _added(job.result or {}))


@verb(app, "show")
def show_model(
    name: Name,
) -> None:
    """Show what is known about a model."""
    with studio_for(None) as studio:
        found = studio.models.show(name)
    facts: dict[str, Any] = {**asdict(found), "folder": str(found.folder)} if isinstance(found, ShelfModel) else asdict(found)
    show(facts, text=lambda: "\n".join(f"{key}: {value}" for key, value in facts.items() if value not in ("", {})))


@verb(app)
def remove(
    name: Name,
) -> None:
    """Remove a model from this machine; a folder of your own is only taken off the list."""
    with studio_for(None) as studio:
        gone = studio.models.remove(name)
    told = f"'{name}' is off the list; its folder {gone.path} stays." if gone.path else f"'{name}' is removed."
    show({"removed": name, "folder": gone.path or None}, text=lambda: told)


class _FollowedJob:
    """Shows in the terminal how a job in a worker goes on."""

    def __init__(self, console: Console) -> None:
        self._console, self._stage, self._told = console, "", time.monotonic()

    def __call__(self, job: JobView) -> None:
        if job.stage and job.stage != self._stage:
            self._stage = job.stage
            self._console.stage(job.stage, job.stage_index, job.stage_count)
        if job.total:
            self._console.progress(job.done, job.total)


def _listed(offers: list[Offer]) -> str:
    header = ["name", "here", "size", "parameters", "licence", "languages", "kind", "fits", f"{PROMPTS:,} prompts"]
    rows = [
        [
            offer.name,
            "broken" if offer.broken else "yes" if offer.here else "-",
            f"{offer.size / 1e9:.2f} GB",
            f"{offer.parameters / 1e6:,.0f} M",
            (offer.licence or "not stated") + (" (gated)" if offer.gated else ""),
            offer.languages or "not stated",
            offer.kind,
            "?" if offer.fits is None else "yes" if offer.fits else "no",
            "-" if offer.seconds is None else f"{offer.seconds:,.0f} s" + ("" if offer.measured else " (est.)"),
        ]
        for offer in offers
    ]
    note = "Add one: python launch.py model add NAME, a folder, a .gguf file, or a Hub id. (est.): from the speed of a model measured here."
    return f"{table(rows, header)}\n{note}"


def _added(result: dict[str, Any]) -> str:
    rate = (result.get("speed") or {}).get("tokens_per_s")
    told = f"; it reads {rate:,.0f} tokens per second here" if rate else ""
    return f"'{result['model']}' is on this machine{told}. Use it by this name, e.g. --model {result['model']}."
