"""The options of the verb `teacher`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reft_studio.cli.arguments.options import Where, studio_for

SEVERAL = ("--harmful", "--harmless", "--helpful")
"""Options that take every value up to the next option."""


def teacher(
    base: Annotated[str, typer.Option("--base", "--model", help="'lab', a model of this machine, a folder or a Hub id")] = "lab",
    harmful: Annotated[list[str] | None, typer.Option(help="files or ids of harmful prompts; default: the lab's")] = None,
    harmless: Annotated[
        list[str] | None, typer.Option("--harmless", "--helpful", help="files or ids of harmless prompts; default: the lab's")
    ] = None,
    calibration_harmful: Annotated[str | None, typer.Option(help="held-out harmful prompts; default: a part of --harmful")] = None,
    calibration_harmless: Annotated[str | None, typer.Option(help="held-out harmless prompts; default: a part of --harmless")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the finished teacher; without --workspace it is kept there only")] = None,
    rows: Annotated[int, typer.Option(help="prompts of each kind at most, drawn evenly from the files")] = 5000,
    quick: Annotated[bool, typer.Option(help="no training: an instruct model as it is, probed with the prompts that ship")] = False,
    ready: Annotated[bool, typer.Option(help="no training: an instruct model as it is, probed with the prompts given")] = False,
    regularisation: Annotated[float | None, typer.Option(help="weight λ of the cosine regulariser (1); 0: aligned weights only")] = None,
    sweep_lambda: Annotated[str, typer.Option(help="comma-separated λ to try, e.g. 0.01,0.1,0.5,1; the best is kept")] = "",
    early_stop: Annotated[int | None, typer.Option(help="evaluations without progress that end training")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="further settings, e.g. momentum=0 or optim.steps=400")] = None,
    seed: int = 0,
    workspace: Where = None,
) -> None:
    """Prepare a teacher: finetune the base on alignment data, compute and calibrate its refusal feature."""
    from reft_studio.cli import teacher as verb

    settings: dict[str, Any] = {"model": base, "seed": seed}
    chosen = {"regularisation": regularisation, "early_stop": early_stop, "sweep": verb.weights(sweep_lambda)}
    settings |= {name: value for name, value in chosen.items() if value is not None}
    settings |= {"kind": "ready", "reading": "auto"} if ready else {}
    settings |= verb.settings(setting or [], model=base)
    sources = verb.PromptFiles(harmful or [], harmless or [], calibration_harmful, calibration_harmless, quick=quick)
    with studio_for(workspace, throwaway=out is not None) as studio:
        verb.teacher(studio, sources, settings, {"rows": rows}, out=out)
