"""What the variants of a sweep change against one of them on the same user data, prompt by prompt and over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reft_studio.comparison.flips import points
from reft_studio.comparison.seeds import MARGIN, SeedDifference, compared, non_inferior
from reft_studio.comparison.table import Metric, RunRow, load_rows, run_info
from reft_studio.paired import holm
from reft_studio.sweeps.spec import NONE, OWN
from reft_studio.workspace import Workspace

NOTE = (
    "Differences on the same user data and prompts, in points with 95 % intervals over seeds and prompts; p after Holm over all "
    "differences in HS and over-refusal of this table. The last column: whether accuracy is no worse by more than "
    f"{MARGIN:g} points, that is whether the whole interval lies above that (non-inferiority, one-sided 2.5 %)."
)
_SETTING = ("model", "task", "rows", "poison_ratio", "attack")
_TESTED: tuple[Metric, ...] = ("hs", "over_refusal")


@dataclass(frozen=True)
class Against:
    """A variant at one setting against the reference there; `differences` by metric, variant minus reference, over `seeds` seeds."""

    setting: dict[str, Any]
    variant: str
    seeds: int
    differences: dict[Metric, SeedDifference]


def against(workspace: Workspace, lines: Sequence[Mapping[str, Any]], reference: str) -> list[Against]:
    """All variants that share two seeds or more with the one called `reference`, in the order of `lines` (what `sweep.lines` gives).

    Settings without it give none. Raises EvaluationError if the workspace has evaluated the runs in another way since.
    """
    runs: dict[tuple[Any, ...], dict[str, list[RunRow]]] = {}
    for line in lines:
        if "run" in line:
            setting = tuple(line["cell"][name] for name in _SETTING)
            found = load_rows(workspace, [run_info(workspace, line["run"], {})])
            runs.setdefault(setting, {}).setdefault(line["cell"]["variant"], []).extend(found)
    known = [
        Against(dict(zip(_SETTING, setting, strict=True)), variant, differences[0].seeds, {one.metric: one for one in differences})
        for setting, variants in runs.items()
        for variant, rows in variants.items()
        if variant != reference and (differences := compared(workspace, variants.get(reference, []), rows))
    ]
    return _corrected(known)


def plain_of(lines: Sequence[Mapping[str, Any]]) -> str | None:
    """The name of plain finetuning among the variants; None where it is not compared."""
    return next((str(one["cell"]["variant"]) for one in lines if is_plain(one["cell"])), None)


def is_plain(cell: Mapping[str, Any]) -> bool:
    """Whether a cell is plain finetuning: no defense, no filter."""
    return (cell["method"], cell["start"]) == ("sft", "method") and cell["filter"] in (OWN, NONE)


def _corrected(known: Sequence[Against]) -> list[Against]:
    tested = [(place, metric) for place, one in enumerate(known) for metric in _TESTED if metric in one.differences]
    adjusted = dict(zip(tested, holm([known[place].differences[metric].p_value for place, metric in tested]), strict=True))
    return [
        replace(
            one,
            differences={
                metric: replace(found, adjusted=adjusted.get((place, metric), found.p_value), comparisons=len(tested))
                for metric, found in one.differences.items()
            },
        )
        for place, one in enumerate(known)
    ]


def as_markdown(known: Sequence[Against], reference: str) -> str:
    """A section for the page of a sweep; empty where there is nothing to compare."""
    if not known:
        return ""
    settings = [name for name in _SETTING if name == "poison_ratio" or len({one.setting[name] for one in known}) > 1]
    heads = ["method", *(name.replace("poison_ratio", "p") for name in settings), "seeds", "HS", "p", "over-refusal", "p", "FA"]
    heads.append(f"no worse by {MARGIN:g}")
    lines = ["", f"## Against {reference}", "", NOTE, "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for one in known:
        where = [f"{one.setting[name]:g}" if isinstance(one.setting[name], float) else str(one.setting[name]) for name in settings]
        tested = [text for metric in _TESTED for text in _tested(one.differences.get(metric))]
        accuracy = one.differences.get("fa")
        shown = [points(accuracy.difference), non_inferior(accuracy.difference)] if accuracy else ["-", "-"]
        lines.append("| " + " | ".join([one.variant, *where, str(one.seeds), *tested, *shown]) + " |")
    return "\n".join([*lines, ""])


def _tested(found: SeedDifference | None) -> list[str]:
    if found is None:
        return ["-", "-"]
    return [points(found.difference), "< 0.001" if found.adjusted < 0.001 else f"{found.adjusted:.3f}"]
