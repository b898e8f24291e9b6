"""The verb `scorer`: which scorers there are, and from files of prompts to a prepared one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reft_studio.console import Console, show, table
from reft_studio.errors import PrerequisiteError
from reft_studio.jobs.scorers import prepare_scorer
from reft_studio.scoring import SCORERS
from reft_studio.scoring.level import level_of
from reft_studio.scoring.prepared import FILE, list_prepared, open_prepared
from reft_studio.verbs import dataset_named
from reft_studio.workspace import Workspace, new_folder


def list_scorers(workspace: Workspace) -> None:
    """Every scorer of the registry, then what is prepared."""
    infos = [scorer.info for scorer in SCORERS.all().values()]
    ready = [{"id": one.id, "scorer": one.scorer, "title": one.title, "threshold": one.threshold} for one in list_prepared(workspace)]
    lines = [f"{info.name} ({info.title}) reads: {info.reads}. Misses: {info.misses} Cost: {info.cost}." for info in infos]
    rows = [[str(one["id"]), str(one["scorer"]), str(one["title"])] for one in ready]
    text = "\n".join([*lines, "", table(rows, ["prepared", "scorer", "title"])])
    show({"scorers": [asdict(info) for info in infos], "prepared": ready}, text=lambda: text)


def prepare(workspace: Workspace, settings: dict[str, Any], *, harmful: Sequence[str], harmless: Sequence[str], out: Path | None) -> None:
    """Prepare a scorer, say how well it separates held-out prompts, and copy it to `out`."""
    SCORERS.get(settings["scorer"])
    if out is not None and out.exists() and not (out.is_dir() and ((out / FILE).is_file() or not any(out.iterdir()))):
        raise PrerequisiteError(f"{out} is there already and is no prepared scorer. Name a folder that is new or empty.")
    sets = {
        kind: tuple(dataset_named(workspace, name, role="benchmark") for name in names)
        for kind, names in (("harmful", harmful), ("harmless", harmless))
    }
    console = Console(workspace)
    result = prepare_scorer(console, {**settings, **sets})
    console.done()
    found = open_prepared(workspace, result["scorer"])
    if out is not None:
        with new_folder(out.absolute()) as building:
            shutil.copytree(found.folder, building, dirs_exist_ok=True)
        result["out"] = str(out)
    show(result, text=lambda: _text(result, out))


def _text(result: dict[str, Any], out: Path | None) -> str:
    numbers = result["calibration"]
    text = f"Scorer {result['scorer']}: threshold {result['threshold']:+.3f}"
    if numbers:
        text += (
            f", AUROC {numbers['auroc']:.3f}; flagged of held-out examples: {numbers['recall']:.1f} % of {numbers['harmful']:,} harmful, "
        )
        text += f"{numbers['false_positive_rate']:.1f} % of {numbers['harmless']:,} harmless.\n{level_of(numbers).sentence}"
    return text + (f"\nIn {out}." if out else "")
