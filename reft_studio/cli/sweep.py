"""The verb `sweep`: a recipe done, and its table shown and kept."""

from __future__ import annotations

from pathlib import Path

from reft_studio.cli.console import Console, show
from reft_studio.cli.console import table as plain
from reft_studio.errors import SpecError
from reft_studio.sweeps import page
from reft_studio.sweeps import table as sweep_table
from reft_studio.sweeps.recipe_text import read_recipe
from reft_studio.sweeps.record import done, lines
from reft_studio.sweeps.run import Share, sweep
from reft_studio.workspace import Workspace, write_atomic

ENDINGS = (".md", ".tex", ".csv")


def run_sweep(workspace: Workspace, recipe: Path, *, share: str = "1/1", out: tuple[Path, ...] = (), plan: bool = False) -> None:
    """Do the runs of a recipe that are not done yet, and show what all of them found; `plan`: only say what there is to do."""
    if wrong := [path for path in out if path.suffix not in ENDINGS]:
        raise SpecError(f"'{wrong[0]}' ends in nothing that a table is written as. Use one of: {', '.join(ENDINGS)}.")
    spec, mine = read_recipe(recipe), Share.read(share)
    console = Console(workspace)
    if not plan:
        sweep(workspace, spec, console, share=mine, expect=console.expect)
        console.done()
    found = lines(workspace, spec)
    table = sweep_table.summarised(found)
    texts = {
        ".md": lambda: page.markdown(workspace, spec, found),
        ".tex": lambda: sweep_table.as_latex(table, spec),
        ".csv": lambda: sweep_table.as_csv(found),
    }
    for path in out:
        write_atomic(path, texts[path.suffix]())
    count = sum(map(done, found))

    def text() -> str:
        heads, rows = sweep_table.cells(table)
        failed = sweep_table.failures(table)
        return "\n".join([plain(rows, heads), *(["", "Failed:", *failed] if failed else []), f"{count} of {len(found)} runs done."])

    show(
        {"sweep": spec.id, "name": spec.name, "runs": len(found), "done": count, "lines": found},
        text=text,
    )
