"""The verb `sweep`: a recipe done, and its table shown and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reft_studio.console import Console, show
from reft_studio.console import table as plain
from reft_studio.errors import SpecError
from reft_studio.tasks import stress_matrix, sweep_filters, sweep_reference, sweep_table
from reft_studio.tasks.sweep import Share, lines, sweep
from reft_studio.tasks.sweep_spec import SweepSpec, read_recipe
from reft_studio.workspace import Workspace, write_atomic

ENDINGS = (".md", ".tex", ".csv")


def run_sweep(workspace: Workspace, recipe: Path, *, share: str = "1/1", out: tuple[Path, ...] = (), plan: bool = False) -> None:
    """Do the runs of a recipe that are not done yet, and show what all of them found; `plan`: only say what there is to do."""
    if wrong := [path for path in out if path.suffix not in ENDINGS]:
        raise SpecError(f"'{wrong[0]}' ends in nothing that a table is written as. Use one of: {', '.join(ENDINGS)}.")
    spec, mine = read_recipe(recipe), Share.read(share)
    console = Console(workspace)
    if not plan:
        sweep(workspace, spec, console, share=mine)
        console.done()
    found = lines(workspace, spec)
    table = sweep_table.summarised(found)
    texts = {
        ".md": lambda: page(workspace, spec, found),
        ".tex": lambda: sweep_table.as_latex(table, spec),
        ".csv": lambda: sweep_table.as_csv(found),
    }
    for path in out:
        write_atomic(path, texts[path.suffix]())
    done = sum("result" in line or "filter" in line for line in found)

    def text() -> str:
        heads, rows = sweep_table.cells(table)
        failed = sweep_table.failures(table)
        return "\n".join([plain(rows, heads), *(["", "Failed:", *failed] if failed else []), f"{done} of {len(found)} runs done."])

    show(
        {"sweep": spec.id, "name": spec.name, "runs": len(found), "done": done, "lines": found},
        text=text,
    )


def page(workspace: Workspace, spec: SweepSpec, found: Sequence[Mapping[str, Any]]) -> str:
    """A sweep as a page of Markdown: its table, what its filters remove, and its differences to plain finetuning; of attacks, a matrix."""
    table = sweep_table.summarised(found)
    if stress_matrix.is_stress(spec):
        return stress_matrix.as_markdown(table, spec)
    parts = [
        sweep_table.as_markdown(table, spec),
        stress_matrix.harm_markdown(table, spec),
        sweep_filters.as_markdown(found),
        sweep_reference.as_markdown(sweep_reference.against_plain(workspace, found)),
    ]
    return "".join(parts)
