"""Differences of the variants of a sweep to a reference variant on the same user data, prompt by prompt and over seeds."""

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
    """A variant at one setting against the reference; `differences` by metric, variant minus reference, over `seeds` seeds."""

    setting: dict[str, Any]
    variant: str
    seeds: int
    differences: dict[Metric, SeedDifference]


def against(workspace: Workspace, lines: Sequence[Mapping[str, Any]], reference: str) -> list[Against]:
    """All variants that share two seeds or more with the one called `reference`, in the order of `lines` (of `sweep.lines`).

    Settings without the reference are left out. Raises EvaluationError if the runs were evaluated differently since.
    """
    runs: dict[tuple[Any, ...], dict[str, list[RunRow]]] = {}
    for line in lines:
        if "run" in line:
            setting = tuple(line["cell"][name] for name in _SETTING)
            rows_of_run = load_rows(workspace, [run_info(workspace, line["run"], {})])
            runs.setdefault(setting, {}).setdefault(line["cell"]["variant"], []).extend(rows_of_run)
    results = [
        Against(
            dict(zip(_SETTING, setting, strict=True)),
            variant,
            differences[0].seeds,
            {difference.metric: difference for difference in differences},
        )
        for setting, variants in runs.items()
        for variant, rows in variants.items()
        if variant != reference and (differences := compared(workspace, variants.get(reference, []), rows))
    ]
    return _corrected(results)


def plain_of(lines: Sequence[Mapping[str, Any]]) -> str | None:
    """The name of plain finetuning among the variants; None if it is not among them."""
    return next((str(line["cell"]["variant"]) for line in lines if is_plain(line["cell"])), None)


def is_plain(cell: Mapping[str, Any]) -> bool:
    """Whether a cell is plain finetuning: no defense, no filter."""
    return (cell["method"], cell["start"]) == ("sft", "method") and cell["filter"] in (OWN, NONE)


def _corrected(results: Sequence[Against]) -> list[Against]:
    tested = [(index, metric) for index, result in enumerate(results) for metric in _TESTED if metric in result.differences]
    adjusted = dict(zip(tested, holm([results[index].differences[metric].p_value for index, metric in tested]), strict=True))
    return [
        replace(
            result,
            differences={
                metric: replace(difference, adjusted=adjusted.get((index, metric), difference.p_value), comparisons=len(tested))
                for metric, difference in result.differences.items()
            },
        )
        for index, result in enumerate(results)
    ]


def as_markdown(results: Sequence[Against], reference: str) -> str:
    """A section for the page of a sweep; empty if there is nothing to compare."""
    if not results:
        return ""
    settings = [name for name in _SETTING if name == "poison_ratio" or len({result.setting[name] for result in results}) > 1]
    heads = ["method", *(name.replace("poison_ratio", "p") for name in settings), "seeds", "HS", "p", "over-refusal", "p", "FA"]
    heads.append(f"no worse by {MARGIN:g}")
    lines = ["", f"## Against {reference}", "", NOTE, "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for result in results:
        where = [f"{result.setting[name]:g}" if isinstance(result.setting[name], float) else str(result.setting[name]) for name in settings]
        tested = [text for metric in _TESTED for text in _tested(result.differences.get(metric))]
        accuracy = result.differences.get("fa")
        shown = [points(accuracy.difference), non_inferior(accuracy.difference)] if accuracy else ["-", "-"]
        lines.append("| " + " | ".join([result.variant, *where, str(result.seeds), *tested, *shown]) + " |")
    return "\n".join([*lines, ""])


def _tested(difference: SeedDifference | None) -> list[str]:
    if difference is None:
        return ["-", "-"]
    return [points(difference.difference), "< 0.001" if difference.adjusted < 0.001 else f"{difference.adjusted:.3f}"]
