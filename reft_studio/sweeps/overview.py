"""A sweep over shares of poison at a glance: a line for each variant, HS and accuracy side by side for every share."""

from __future__ import annotations

from collections.abc import Sequence

from reft_studio.stats import Estimate
from reft_studio.sweeps.table import VariantResult

NOTE = (
    "HS with its interval, FA as a mean, by share of poison p; a dash where nothing was measured. "
    "Seeds, all intervals and costs are in the table above."
)


def as_markdown(lines: Sequence[VariantResult]) -> str:
    """A section for the page of a sweep; empty unless there are several shares of poison and nothing else varies beside the variant."""
    ratios = sorted({line.setting["poison_ratio"] for line in lines})
    others = {tuple(value for name, value in line.setting.items() if name not in ("poison_ratio", "variant")) for line in lines}
    if len(ratios) < 2 or len(others) > 1 or not any("hs" in line.values for line in lines):
        return ""
    found = {(line.setting["variant"], line.setting["poison_ratio"]): line for line in lines}
    heads = ["method", *(f"HS, p {ratio:g}" for ratio in ratios), *(f"FA, p {ratio:g}" for ratio in ratios)]
    rows = [
        [
            variant,
            *(_score(found.get((variant, ratio)), "hs", interval=True) for ratio in ratios),
            *(_score(found.get((variant, ratio)), "fa", interval=False) for ratio in ratios),
        ]
        for variant in dict.fromkeys(str(line.setting["variant"]) for line in lines)
    ]
    body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(["", "## At a glance", "", NOTE, "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *body, ""])


def _score(line: VariantResult | None, name: str, *, interval: bool) -> str:
    share: Estimate | None = line.values.get(name) if line else None
    if share is None:
        return "-"
    return f"{share.value:.1f}" + (f" [{share.low:.1f}, {share.high:.1f}]" if interval else "")
