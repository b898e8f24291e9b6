"""What the filters of a sweep remove: of the poison, and of the harmless rows of each origin (the task, look-alikes, small talk)."""

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
    """A section for the page of a sweep; empty if nothing was filtered."""
    by_filter = _once(lines)
    if not by_filter:
        return ""
    origins = list(dict.fromkeys(name for results in by_filter.values() for result in results for name in result.get("origins", {})))
    rows = [
        [title, task, attack, _share(results, "harmful"), _share(results, "harmless"), *(_origin(results, name) for name in origins)]
        for (title, task, attack), results in by_filter.items()
    ]
    heads = ["filter", "task", "attack", "poison (recall)", "harmless rows (FPR)", *origins]
    shown_columns = [
        column for column, head in enumerate(heads) if head not in ("task", "attack") or len({row[column] for row in rows}) > 1
    ]
    table = [[row[column] for column in shown_columns] for row in [heads, *rows]]
    body = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join(["", "## What the filters remove", "", NOTE, "", body[0], "|" + "---|" * len(shown_columns), *body[1:], ""])


def _once(lines: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], list[Mapping[str, Any]]]:
    """The results of each filter, by its title, task and attack; once per user data."""
    by_filter: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    seen = set()
    for line in lines:
        cell, result = line["cell"], line.get("filter")
        title = _title(cell)
        key = (title, *(cell[name] for name in ("model", "task", "rows", "poison_ratio", "attack", "seed")))
        if result and title and key not in seen:
            seen.add(key)
            by_filter.setdefault((title, cell["task"], cell["attack"]), []).append(result)
    return by_filter


def _title(cell: Mapping[str, Any]) -> str:
    """Name of the filter of a cell; empty without one, and for a teacher of another kind, which filters differently."""
    name = cell["filter"]
    if name == NONE or cell["teacher"] != "own" or (name == OWN and not DEFENSES.get(cell["method"]).info.uses_filter):
        return ""
    return "Refusal feature" if name in (OWN, TEACHER) else filter_title(name)


def _share(results: Sequence[Mapping[str, Any]], kind: str) -> str:
    rate = {"harmful": "recall", "harmless": "false_positive_rate"}[kind]
    return _mean([(round(result[rate] * result[kind] / 100), result[kind]) for result in results if result[rate] is not None])


def _origin(results: Sequence[Mapping[str, Any]], origin: str) -> str:
    return _mean(
        [
            (result["origins"][origin]["removed"], result["origins"][origin]["rows"])
            for result in results
            if origin in result.get("origins", {})
        ]
    )


def _mean(counts: Sequence[tuple[int, int]]) -> str:
    mean: Estimate | None = mean_of_runs([wilson(count, rows) for count, rows in counts if rows])
    return "-" if mean is None else f"{mean.value:.1f} [{mean.low:.1f}, {mean.high:.1f}]"
