"""The chart of a sweep: HS and FA against the share of poison, a line for each variant, at one base, task, size and attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reft_studio.sweeps.table import VariantResult

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from reft_studio.comparison.numbers import Numbers

MOST = 24
"""Variants drawn at most: more lines than that are told apart by nobody."""
_PLACE = ("model", "task", "rows", "attack")


def places(lines: Sequence[VariantResult]) -> list[str]:
    """The settings beside the share of poison, in words, one chart each; of each what tells it from the others."""
    return list(dict.fromkeys(place_of(line, lines) for line in lines if line.values))


def place_of(line: VariantResult, lines: Sequence[VariantResult]) -> str:
    """`lab, topic, n 500`: what varies among `lines` but the share of poison and the variant; `all` where nothing does."""
    varied = [name for name in _PLACE if len({one.setting[name] for one in lines}) > 1]
    return ", ".join(f"n {line.setting[name]}" if name == "rows" else str(line.setting[name]) for name in varied) or "all"


def chart(lines: Sequence[VariantResult], place: str | None, *, dark: bool) -> tuple[go.Figure | None, Numbers]:
    """The figure of one place (None: the first) and the numbers behind it; no figure where no run was evaluated."""
    from reft_studio.comparison.charts import curves as drawing
    from reft_studio.comparison.table import METRICS

    known = [line for line in lines if "hs" in line.values or "fa" in line.values]
    offered = places(known)
    at = place if place in offered else next(iter(offered), None)
    here = [line for line in known if place_of(line, known) == at]
    if not here:
        return None, []
    by_variant: dict[str, list[VariantResult]] = {}
    for line in here:
        by_variant.setdefault(str(line.setting["variant"]), []).append(line)
    drawn = dict(list(by_variant.items())[:MOST])
    marks = drawing.variant_marks([found[0].method for found in drawn.values()], dark=dark)
    metrics = [metric for metric in METRICS if metric in ("hs", "fa") and any(metric in line.values for line in here)]
    curves = [
        drawing.Curve(
            name,
            look,
            {one.setting["poison_ratio"]: {metric: one.values[metric] for metric in metrics if metric in one.values} for one in found},
        )
        for (name, found), look in zip(drawn.items(), marks, strict=True)
    ]
    ratios = {line.setting["poison_ratio"] for line in here}
    draw = drawing.curves if len(ratios) > 1 else drawing.dots
    title = "More poison in the user data" if len(ratios) > 1 else f"At {100 * next(iter(ratios)):g} % poison"
    subtitle = _subtitle(here, "" if at == "all" else str(at), len(by_variant) - len(drawn))
    return draw(curves, metrics, title=title, subtitle=subtitle, dark=dark), _numbers(here)


def _subtitle(lines: Sequence[VariantResult], place: str, left_out: int) -> str:
    """What every point rests on."""
    seeds = sorted({line.seeds for line in lines})
    n = next((line.values["hs"].n for line in lines if "hs" in line.values), 0)
    several = "-".join(str(n) for n in dict.fromkeys((seeds[0], seeds[-1])))
    noise = "one seed each: training noise unknown" if seeds == [1] else f"means over {several} seeds"
    cut = f"{left_out} more variants are not drawn: choose fewer" if left_out else ""
    return " · ".join(filter(None, [place, f"n = {n} harmful prompts per point", "95 % intervals", noise, cut]))


def _numbers(lines: Sequence[VariantResult]) -> Numbers:
    """A row for each point."""
    found: list[dict[str, Any]] = []
    for line in lines:
        row: dict[str, Any] = {**line.setting, "seeds": line.seeds}
        for metric in ("hs", "fa"):
            if (one := line.values.get(metric)) is not None:
                row |= {metric: one.value, f"{metric}_low": one.low, f"{metric}_high": one.high, f"{metric}_n": one.n}
        found.append(row)
    return found
