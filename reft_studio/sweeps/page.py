"""The results of a sweep as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reft_studio.errors import StudioError
from reft_studio.stats import Estimate
from reft_studio.sweeps import filters, stress_matrix
from reft_studio.sweeps import reference as sweep_reference
from reft_studio.sweeps import table as sweep_table
from reft_studio.sweeps.spec import SweepSpec
from reft_studio.sweeps.table import VariantResult
from reft_studio.workspace import Workspace


def markdown(workspace: Workspace, spec: SweepSpec, lines: Sequence[Mapping[str, Any]], *, columns: Sequence[str] | None = None) -> str:
    """The table of a sweep, what its filters remove, and its differences to the reference variants; for attacks, a matrix.

    `columns`: only these of the values. Lines without a finished run are left out, and counted.
    """
    summaries = sweep_table.summarised(lines)
    table = [line for line in summaries if line.seeds or line.failed]
    if stress_matrix.is_stress(spec):
        return stress_matrix.as_markdown(table, spec)
    plain = sweep_reference.plain_of(lines)
    parts = [
        sweep_table.as_markdown(table, spec, columns=columns),
        ""
        if len(table) == len(summaries)
        else f"\n{len(summaries) - len(table):,} of {len(summaries):,} lines have not been run and are left out.\n",
        stress_matrix.harm_markdown(table, spec),
        at_a_glance(table),
        filters.as_markdown(lines),
        *(_against(workspace, lines, reference) for reference in spec.against or ((plain,) if plain else ())),
    ]
    return "".join(parts)


def _against(workspace: Workspace, lines: Sequence[Mapping[str, Any]], reference: str) -> str:
    """The differences, or the reason why there are none: a run may have been deleted, or evaluated differently, since."""
    try:
        return sweep_reference.as_markdown(sweep_reference.against(workspace, lines, reference), reference)
    except StudioError as exc:
        return f"\n## Against {reference}\n\nWithheld: {exc}\n"


_GLANCE = (
    "HS with its interval, FA as a mean, by share of poison p; a dash where nothing was measured. "
    "Seeds, all intervals and costs are in the table above."
)


def at_a_glance(lines: Sequence[VariantResult]) -> str:
    """A section for the page of a sweep; empty unless there are several poison ratios and only the variant varies besides."""
    ratios = sorted({line.setting["poison_ratio"] for line in lines})
    others = {tuple(value for name, value in line.setting.items() if name not in ("poison_ratio", "variant")) for line in lines}
    if len(ratios) < 2 or len(others) > 1 or not any("hs" in line.values for line in lines):
        return ""
    by_cell = {(line.setting["variant"], line.setting["poison_ratio"]): line for line in lines}
    heads = ["method", *(f"HS, p {ratio:g}" for ratio in ratios), *(f"FA, p {ratio:g}" for ratio in ratios)]
    rows = [
        [
            variant,
            *(_score(by_cell.get((variant, ratio)), "hs", interval=True) for ratio in ratios),
            *(_score(by_cell.get((variant, ratio)), "fa", interval=False) for ratio in ratios),
        ]
        for variant in dict.fromkeys(str(line.setting["variant"]) for line in lines)
    ]
    body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(["", "## At a glance", "", _GLANCE, "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *body, ""])


def _score(line: VariantResult | None, name: str, *, interval: bool) -> str:
    share: Estimate | None = line.values.get(name) if line else None
    if share is None:
        return "-"
    return f"{share.value:.1f}" + (f" [{share.low:.1f}, {share.high:.1f}]" if interval else "")
