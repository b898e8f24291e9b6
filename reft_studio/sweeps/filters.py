"""What the filters of a sweep take out: of the poison, and of the harmless rows of each origin (the task, look-alikes, small talk)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reft_studio.comparison.table import mean_of_runs
from reft_studio.defenses import DEFENSES
from reft_studio.stats import Estimate, wilson
from reft_studio.sweeps.spec import NONE, OWN, TEACHER, filter_title

NOTE = (
    "Shares of rows removed, percent with 95 % intervals, over the seeds and shares of poison of the sweep. A filter that is asked before "
    "several defenses finds the same rows in each, and is counted once. Harmless rows by where they come from."
)


def as_markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """A section for the page of a sweep; empty where nothing was filtered."""
    known = _once(lines)
    if not known:
        return ""
    origins = list(dict.fromkeys(name for found in known.values() for one in found for name in one.get("origins", {})))
    rows = [
        [title, task, attack, _share(found, "harmful"), _share(found, "harmless"), *(_origin(found, name) for name in origins)]
        for (title, task, attack), found in known.items()
    ]
    heads = ["filter", "task", "attack", "poison (recall)", "harmless rows (FPR)", *origins]
    varied = [place for place, head in enumerate(heads) if head not in ("task", "attack") or len({row[place] for row in rows}) > 1]
    table = [[row[place] for place in varied] for row in [heads, *rows]]
    body = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join(["", "## What the filters remove", "", NOTE, "", body[0], "|" + "---|" * len(varied), *body[1:], ""])


def _once(lines: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], list[Mapping[str, Any]]]:
    """What each filter found, by its title, task and attack; once for each user data."""
    known: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    seen = set()
    for line in lines:
        cell, found = line["cell"], line.get("filter")
        title = _title(cell)
        place = (title, *(cell[name] for name in ("model", "task", "rows", "poison_ratio", "attack", "seed")))
        if found and title and place not in seen:
            seen.add(place)
            known.setdefault((title, cell["task"], cell["attack"]), []).append(found)
    return known


def _title(cell: Mapping[str, Any]) -> str:
    """Name of the filter of a cell; empty without one, and for a teacher of another kind, which filters in its own way."""
    name = cell["filter"]
    if name == NONE or cell["teacher"] != "own" or (name == OWN and not DEFENSES.get(cell["method"]).info.uses_filter):
        return ""
    return "Refusal feature" if name in (OWN, TEACHER) else filter_title(name)


def _share(found: Sequence[Mapping[str, Any]], kind: str) -> str:
    rate = {"harmful": "recall", "harmless": "false_positive_rate"}[kind]
    return _mean([(round(one[rate] * one[kind] / 100), one[kind]) for one in found if one[rate] is not None])


def _origin(found: Sequence[Mapping[str, Any]], origin: str) -> str:
    return _mean([(one["origins"][origin]["removed"], one["origins"][origin]["rows"]) for one in found if origin in one.get("origins", {})])


def _mean(counts: Sequence[tuple[int, int]]) -> str:
    mean: Estimate | None = mean_of_runs([wilson(count, rows) for count, rows in counts if rows])
    return "-" if mean is None else f"{mean.value:.1f} [{mean.low:.1f}, {mean.high:.1f}]"
