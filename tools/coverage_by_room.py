"""Prints which share of each room's lines and branches the tests run, as Markdown.

python launch.py test --cov            measures it (about twice the time), into the file .coverage
python -m tools.coverage_by_room       reads that file

Measured in the processes of pytest. What a job does in a worker process of its own, or a command in one, is not counted: the shares are
lower bounds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / ".coverage"


@dataclass(frozen=True)
class Covered:
    """Lines and branches of some files, and how many of them ran."""

    lines: int = 0
    lines_run: int = 0
    branches: int = 0
    branches_run: int = 0

    def __add__(self, other: Covered) -> Covered:
        """Both together."""
        return Covered(
            self.lines + other.lines,
            self.lines_run + other.lines_run,
            self.branches + other.branches,
            self.branches_run + other.branches_run,
        )

    def cells(self) -> str:
        """The four cells of a row: counts, and shares in percent (`-` where there is nothing to run)."""
        return " | ".join(
            f"{total:,} | {100 * ran / total:.1f}" if total else "0 | -"
            for total, ran in ((self.lines, self.lines_run), (self.branches, self.branches_run))
        )


def room(path: str) -> str:
    """The room of a file: its package's folder (`reft_studio/data`), or the package for files right in it."""
    folders = Path(path).parts[:-1]
    return "/".join(folders[:2])


def by_room(files: Mapping[str, Mapping[str, Any]]) -> dict[str, Covered]:
    """Sums of `files` by room, from the `files` of coverage's JSON report."""
    found: dict[str, Covered] = {}
    for path, entry in sorted(files.items()):
        counts = entry["summary"]
        one = Covered(counts["num_statements"], counts["covered_lines"], counts["num_branches"], counts["covered_branches"])
        found[room(path)] = found.get(room(path), Covered()) + one
    return found


def table(rooms: Mapping[str, Covered]) -> str:
    """The rooms as a Markdown table, with their sum in the last row."""
    rows: Iterable[tuple[str, Covered]] = [*rooms.items(), ("all", sum(rooms.values(), Covered()))]
    head = ["| room | lines | run, % | branches | taken, % |", "|---|---:|---:|---:|---:|"]
    return "\n".join([*head, *(f"| {name} | {covered.cells()} |" for name, covered in rows)])


def main() -> None:
    """Print the table of the last measured run of the tests; ends with a message where there was none."""
    if not DATA.is_file():
        raise SystemExit("Nothing was measured yet. Run: python launch.py test --cov")
    from coverage import Coverage  # the tests' environment has it, the app's does not

    measured = Coverage(data_file=str(DATA))
    measured.load()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "coverage.json"
        measured.json_report(outfile=str(out))
        files = json.loads(out.read_text("utf-8"))["files"]
    print(table(by_room(files)))


if __name__ == "__main__":
    main()
