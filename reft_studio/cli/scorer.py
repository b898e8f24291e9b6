"""The verb `scorer`: which scorers there are, and from files of prompts to a prepared one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reft_studio.cli.console import Console, show, table, writable
from reft_studio.cli.verbs import dataset_named
from reft_studio.data.dataset import Dataset, Row, open_dataset, write_dataset
from reft_studio.data.writing.export import export_kept
from reft_studio.errors import PrerequisiteError
from reft_studio.scoring import SCORERS
from reft_studio.scoring.choosing import lowest, planted
from reft_studio.scoring.level import level_of
from reft_studio.scoring.prepared import FILE, list_prepared, open_prepared
from reft_studio.scoring.scores import open_score_set
from reft_studio.tasks.score import score_dataset
from reft_studio.tasks.scorers import prepare_scorer
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


def choose(workspace: Workspace, data: str, *, by: str, share: float, out: Path | None) -> None:
    """Score alignment data, keep the share of rows with the lowest scores as a dataset of its own, and say what was kept."""
    writable(out)
    prepared = open_prepared(workspace, by)
    dataset = open_dataset(workspace, dataset_named(workspace, data, role="harmful"))
    console = Console(workspace)
    scores = open_score_set(workspace, dataset.id, score_dataset(console, {"dataset": dataset.id, "scorer": prepared.id})["key"])
    console.done()
    ids = lowest(scores, share=share)
    kept = write_dataset(
        workspace,
        _rows(dataset, set(ids.tolist())),
        name=f"{dataset.name}, the {share:.0%} kept by {prepared.scorer}",
        role=dataset.role,
        extra={"chosen": {"from": dataset.id, "scorer": prepared.id, "share": share}},
    )
    if out is not None:
        export_kept(dataset, ids.tolist(), out)
    before, after = (planted(one.table(["known_harmful"]).column(0).to_pylist()) for one in (dataset, kept))
    told = {"dataset": kept.id, "rows": dataset.rows, "kept": kept.rows, "missing": scores.missing, "scorer": prepared.id}
    found = {**told, "labelled_harmful": before, "labelled_harmful_kept": after, "out": out and str(out)}
    text = f"{SCORERS.get(prepared.scorer).info.title}: {kept.rows:,} of {dataset.rows:,} rows kept as {kept.id}."
    text += f" Labelled harmful: {before:.1%} before, {after:.1%} now." if before is not None and after is not None else ""
    text += f"\nUse it: run --refusals {kept.id}, or teacher --harmful {kept.id}." + (f"\nIn {out}." if out else "")
    show(found, text=lambda: text)


def _rows(dataset: Dataset, ids: set[int]) -> Iterator[Row]:
    """The rows with these ids, as they are."""
    for row in dataset.read():
        if row["row_id"] in ids:
            yield {
                "prompt": row["prompt"],
                "response": row["response"],
                "messages": json.loads(row["messages"]),
                "origin": row["origin"],
                "category": row["category"],
                "known_harmful": row["known_harmful"],
            }


def _text(result: dict[str, Any], out: Path | None) -> str:
    numbers = result["calibration"]
    text = f"Scorer {result['scorer']}: threshold {result['threshold']:+.3f}"
    if numbers:
        text += (
            f", AUROC {numbers['auroc']:.3f}; flagged of held-out examples: {numbers['recall']:.1f} % of {numbers['harmful']:,} harmful, "
        )
        text += f"{numbers['false_positive_rate']:.1f} % of {numbers['harmless']:,} harmless.\n{level_of(numbers).sentence}"
    return text + (f"\nIn {out}." if out else "")
