"""The verb `sweep`: a recipe done, and its table shown and kept."""

from __future__ import annotations

from pathlib import Path

from reft_studio.cli.console import Console, save, show
from reft_studio.cli.console import table as plain
from reft_studio.errors import SpecError
from reft_studio.studio.studio import Studio
from reft_studio.sweeps import table as sweep_table
from reft_studio.sweeps.recipe_text import read_recipe
from reft_studio.sweeps.spec import Share

ENDINGS = (".md", ".tex", ".csv")


def run_sweep(studio: Studio, recipe: Path, *, share: str = "1/1", out: tuple[Path, ...] = (), plan: bool = False) -> None:
    """Do the runs of a recipe that are not done yet, and show what all of them found; `plan`: only say what there is to do."""
    if wrong := [path for path in out if path.suffix not in ENDINGS]:
        raise SpecError(f"'{wrong[0]}' ends in nothing that a table is written as. Use one of: {', '.join(ENDINGS)}.")
    spec, mine = read_recipe(recipe), Share.read(share)
    console = Console()
    if not plan:
        studio.sweeps.run(spec, console, share=mine)
        console.done()
    found = studio.sweeps.lines(spec)
    table = sweep_table.summarised(found)
    for path in out:
        save(path, studio.sweeps.written(spec, found, path.suffix.removeprefix(".")))
    count = studio.sweeps.done(found)

    def text() -> str:
        heads, rows = sweep_table.cells(table)
        failed = sweep_table.failures(table)
        return "\n".join([plain(rows, heads), *(["", "Failed:", *failed] if failed else []), f"{count} of {len(found)} runs done."])

    show(
        {"sweep": spec.id, "name": spec.name, "runs": len(found), "done": count, "lines": found},
        text=text,
    )
