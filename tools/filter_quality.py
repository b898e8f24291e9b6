"""Measures every kind of scorer, prepared from the same prompts as the teacher that ships, on public sets that none of them saw.

python -m tools.filter_quality --data FOLDER --json docs/results/filter-quality.json
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from benchmarks.filter_quality import compare
from reft_studio.cli.console import Console, Output, output
from reft_studio.scoring.ensemble import Ensemble
from reft_studio.scoring.linear_probe import LinearProbe
from reft_studio.scoring.prepared import Prepared
from reft_studio.scoring.scorer import Examples, ScorerSpec
from reft_studio.teacher.teacher import TeacherInfo, adopt, open_teacher
from reft_studio.workspace import Workspace
from tools.real_teacher import FOLDER, NAME, examples, pooled, prepare, words_of

RIVALS = {
    "trained": "teacher, trained",
    "untrained": "teacher, untrained",
    "probe": "linear probe, untrained",
    "words": "words",
    "ensemble": "trained teacher and words",
}


def main() -> None:
    """Prepare the rivals in a temporary workspace, then score all of them."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--data", type=Path, required=True, help="folder of public prompt sets")
    asked.add_argument("--model", default=NAME, help="the base: a name of the model shelf, or a folder")
    asked.add_argument("--teacher", type=Path, default=FOLDER, help="folder of the trained teacher")
    asked.add_argument("--scorers", default=",".join(RIVALS), help=f"which to measure: {', '.join(RIVALS)}")
    asked.add_argument("--json", type=Path, help="write the record here")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="reft-studio-quality-") as scratch:
        workspace = Workspace.open(Path(scratch))
        trained = open_teacher(workspace, adopt(workspace, given.teacher))
        wanted = [name for name in RIVALS if name in given.scorers.split(",")]
        scorers = rivals(workspace, Console(), given.data, trained, wanted, model=given.model)
        with output(Output(file=given.json)):
            compare(workspace, given.data, scorers)


def rivals(
    workspace: Workspace, console: Console, data: Path, trained: TeacherInfo, wanted: Sequence[str], *, model: str
) -> dict[str, Prepared]:
    """The trained teacher, its base as it is, a linear probe on the base, words, and teacher and words together; those `wanted`."""
    same = examples(workspace, pooled(workspace, data))
    untrained = cache(lambda: prepare(workspace, console, data, model=model, kind="ready"))
    words = cache(lambda: words_of(workspace, same, console))
    made: dict[str, Callable[[], Prepared]] = {
        "trained": lambda: trained,
        "untrained": untrained,
        "probe": lambda: _probe(workspace, untrained(), same, console),
        "words": words,
        "ensemble": lambda: _ensemble(workspace, [trained.id, words().id], same, console),
    }
    return {RIVALS[name]: made[name]() for name in wanted}


def _probe(workspace: Workspace, teacher: TeacherInfo, same: Examples, console: Console) -> Prepared:
    return LinearProbe().prepare(workspace, ScorerSpec(scorer="linear_probe", shipped=False, teacher=teacher.id), same, console)


def _ensemble(workspace: Workspace, members: list[str], same: Examples, console: Console) -> Prepared:
    return Ensemble().prepare(workspace, ScorerSpec(scorer="ensemble", shipped=False, members=tuple(members)), same, console)


if __name__ == "__main__":
    main()
