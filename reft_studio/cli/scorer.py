"""The verb `scorer`: which scorers there are, and from files of prompts to a prepared one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reft_studio.cli.console import Console, show, table, writable
from reft_studio.cli.verbs import dataset_named
from reft_studio.scoring import SCORERS
from reft_studio.scoring.level import level_of
from reft_studio.studio.scorers import check_target
from reft_studio.studio.studio import Studio


def list_scorers(studio: Studio) -> None:
    """Every scorer of the registry, then what is prepared."""
    infos = [scorer.info for scorer in SCORERS.all().values()]
    ready = [{"id": one.id, "scorer": one.scorer, "title": one.title, "threshold": one.threshold} for one in studio.scorers.every()]
    lines = [f"{info.name} ({info.title}) reads: {info.reads}. Misses: {info.misses} Cost: {info.cost}." for info in infos]
    rows = [[str(one["id"]), str(one["scorer"]), str(one["title"])] for one in ready]
    text = "\n".join([*lines, "", table(rows, ["prepared", "scorer", "title"])])
    show({"scorers": [asdict(info) for info in infos], "prepared": ready}, text=lambda: text)


def prepare(studio: Studio, settings: dict[str, Any], *, harmful: Sequence[str], harmless: Sequence[str], out: Path | None) -> None:
    """Prepare a scorer, say how well it separates held-out prompts, and copy it to `out`."""
    SCORERS.get(settings["scorer"])
    if out is not None:
        check_target(out)
    sets = {
        kind: tuple(dataset_named(studio, name, role="benchmark") for name in names)
        for kind, names in (("harmful", harmful), ("harmless", harmless))
    }
    console = Console()
    result = studio.foreground.do("scorer", {**settings, **sets}, console)
    console.done()
    if out is not None:
        studio.scorers.deliver(result["scorer"], out)
        result["out"] = str(out)
    show(result, text=lambda: _text(result, out))


def choose(studio: Studio, data: str, *, by: str, share: float, out: Path | None) -> None:
    """Score alignment data, keep the share of rows with the lowest scores as a dataset of its own, and say what was kept."""
    writable(out)
    prepared = studio.scorers.find(by)
    dataset = dataset_named(studio, data, role="harmful")
    console = Console()
    key = studio.foreground.do("score", {"dataset": dataset, "scorer": prepared.id}, console)["key"]
    console.done()
    kept = studio.scorers.keep_lowest(dataset, key, share=share, out=out)
    before, after = kept.harmful_before, kept.harmful
    told = {"dataset": kept.dataset, "rows": kept.rows, "kept": kept.kept, "missing": kept.missing, "scorer": prepared.id}
    found = {**told, "labelled_harmful": before, "labelled_harmful_kept": after, "out": out and str(out)}
    text = f"{SCORERS.get(prepared.scorer).info.title}: {kept.kept:,} of {kept.rows:,} rows kept as {kept.dataset}."
    text += f" Labelled harmful: {before:.1%} before, {after:.1%} now." if before is not None and after is not None else ""
    text += f"\nUse it: run --refusals {kept.dataset}, or teacher --harmful {kept.dataset}." + (f"\nIn {out}." if out else "")
    show(found, text=lambda: text)


def _text(result: dict[str, Any], out: Path | None) -> str:
    numbers = result["calibration"]
    text = f"Scorer {result['scorer']}: threshold {result['threshold']:+.3f}"
    if numbers:
        text += (
            f", AUROC {numbers['auroc']:.3f}; flagged of held-out examples: {numbers['recall']:.1f} % of {numbers['harmful']:,} harmful, "
        )
        text += f"{numbers['false_positive_rate']:.1f} % of {numbers['harmless']:,} harmless.\n{level_of(numbers).sentence}"
    return text + (f"\nIn {out}." if out else "")
