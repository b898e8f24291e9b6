"""Draw the sweep of poison ratios for the README from sweep.json: `python docs/results/draw_sweep.py sweep.json sweep.svg`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

COLOURS = {
    "sft": ("#D55E00", "Plain SFT"),
    "aligned_sft": ("#0072B2", "Aligned weights, then SFT"),
    "sa_ft": ("#CC79A7", "SA+FT from base"),
    "filter_only": ("#E69F00", "Filter only"),
    "distill_only": ("#555555", "Distillation only"),
    "ref_teacher": ("#009E73", "Ref-Teacher"),
}
DASHES = {"sft": "", "aligned_sft": "7 4", "sa_ft": "2 3", "filter_only": "9 3 2 3", "distill_only": "4 4", "ref_teacher": ""}
PANELS = (
    ("hs", "Harmful score, % (lower is better)"),
    ("over_refusal", "Over-refusal, % (lower is better)"),
    ("fa", "Finetune accuracy, % (higher is better)"),
)
LEFT, TOP, WIDE, HIGH, GAP = 46, 40, 270, 210, 56


def main(source: Path, target: Path) -> None:
    """One panel a metric; lines join the ratios that were run, bars are 95 % intervals over prompts."""
    sweep = json.loads(source.read_text("utf-8"))["sweep"]
    ratios = [one["poison_ratio"] for one in sweep]
    parts = []
    for number, (metric, title) in enumerate(PANELS):
        left = LEFT + number * (WIDE + GAP)
        parts.append(f'<text x="{left}" y="{TOP - 14}" font-size="13" font-weight="600">{title}</text>')
        for value in (0, 25, 50, 75, 100):
            y = TOP + HIGH * (1 - value / 100)
            parts.append(
                f'<line x1="{left}" x2="{left + WIDE}" y1="{y}" y2="{y}" stroke="#ddd"/>'
                f'<text x="{left - 6}" y="{y + 4}" text-anchor="end" font-size="11">{value}</text>'
            )
        for ratio in ratios:
            parts.append(
                f'<text x="{left + WIDE * ratio / 0.5:.0f}" y="{TOP + HIGH + 17}" text-anchor="middle" font-size="11">{ratio:.0%}</text>'
            )
        for place, method in enumerate(COLOURS):
            parts += _line(sweep, method, metric, left, shift=(place - 2.5) * 1.6)
    for place, (method, (colour, title)) in enumerate(COLOURS.items()):
        x, y = LEFT + (place % 3) * (WIDE + GAP), TOP + HIGH + 44 + 20 * (place // 3)
        parts.append(
            f'<line x1="{x}" x2="{x + 30}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" '
            f'stroke-width="2.5" stroke-dasharray="{DASHES[method]}"/>'
        )
        parts.append(f'<text x="{x + 38}" y="{y}" font-size="12">{title}</text>')
    size = f"{LEFT + 3 * WIDE + 2 * GAP + 20} {TOP + HIGH + 80}"
    body = "".join(parts)
    target.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" font-family="system-ui, sans-serif" fill="#222">'
        f'<rect width="100%" height="100%" fill="white"/>{body}</svg>\n',
        "utf-8",
    )


def _line(sweep: list[dict[str, object]], method: str, metric: str, left: float, *, shift: float) -> list[str]:
    colour = COLOURS[method][0]
    points, bars = [], []
    for one in sweep:
        found = next(line[metric] for line in one["results"] if line["method"] == method)  # type: ignore[attr-defined]
        x = left + WIDE * one["poison_ratio"] / 0.5 + shift  # type: ignore[operator]
        y, low, high = (TOP + HIGH * (1 - found[name] / 100) for name in ("value", "low", "high"))
        points.append(f"{x:.1f},{y:.1f}")
        bars.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}" stroke-opacity=".45"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
        )
    return [
        f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{DASHES[method]}"/>',
        *bars,
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
