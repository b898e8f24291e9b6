"""The result of a sweep as a table: a line for each variant and share of poison, means over seeds; as text, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reft_studio.comparison.table import mean_of_runs
from reft_studio.stats import Estimate, mean_over_seeds, wilson
from reft_studio.tasks.sweep_spec import SweepSpec

SHARES = ("hs", "hs_framed", "refused", "other", "over_refusal", "fa")
"""What became of harmful prompts (complied with, also as the attacker asks; refused, neither), of harmless ones, and of the task."""
HEADS = {
    "hs": "HS",
    "hs_framed": "HS in the attack's frame",
    "refused": "refused",
    "other": "other",
    "over_refusal": "over-refusal",
    "fa": "FA",
    "recall": "filter recall",
    "false_positive_rate": "filter FPR",
    "passes": "passes a step",
    "tflop": "TFLOP",
    "minutes": "min",
    "memory_mb": "MB",
}
_GROUP = ("model", "task", "rows", "poison_ratio", "attack", "variant")


@dataclass(frozen=True)
class Line:
    """A variant at one setting. `values`: by head, a mean over the seeds that were done; `failed`: errors of the others."""

    setting: dict[str, Any]
    seeds: int
    values: dict[str, Estimate]
    failed: tuple[str, ...] = ()


def summarised(lines: Sequence[Mapping[str, Any]]) -> list[Line]:
    """What `sweep.lines` gives, over its seeds, in the order of the recipe. Cells that were not done yet count in no mean.

    One seed keeps the interval over its prompts; of more it is a t-interval over the seeds, never narrower than that.
    """
    grouped: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for line in lines:
        grouped.setdefault(tuple(line["cell"][name] for name in _GROUP), []).append(line)
    return [_line(dict(zip(_GROUP, key, strict=True)), members) for key, members in grouped.items()]


def _line(setting: dict[str, Any], members: Sequence[Mapping[str, Any]]) -> Line:
    done = [one for one in members if "result" in one]
    known = [one for one in members if "result" in one or "filter" in one]
    values: dict[str, Estimate] = {}
    for name in SHARES:
        found = [Estimate(**one["result"][name]) for one in done if one["result"].get(name)]
        if (mean := mean_of_runs(found)) is not None:
            values[name] = mean
    for name, counted in (("recall", "harmful"), ("false_positive_rate", "harmless")):
        filters = [one["filter"] for one in known if one.get("filter") and one["filter"][name] is not None]
        rates = mean_of_runs([wilson(round(one[name] * one[counted] / 100), one[counted]) for one in filters])
        if rates is not None:
            values[name] = rates
    for name, read in _COSTS.items():
        numbers = [number for one in done if (number := read(one)) is not None]
        if numbers:
            values[name] = mean_over_seeds(numbers, unit="")
    return Line(setting, len(known), values, tuple(dict.fromkeys(str(one["error"]) for one in members if "error" in one)))


def _passes(line: Mapping[str, Any]) -> float | None:
    cost = line.get("cost")
    return sum(cost["passes"].values()) / line["steps"] if cost else None


def _tflop(line: Mapping[str, Any]) -> float | None:
    cost = line.get("cost")
    return sum(cost["flops"].values()) / 1e12 if cost and cost["flops"] else None


def _minutes(line: Mapping[str, Any]) -> float | None:
    cost = line.get("cost")
    own = sum(stage["seconds"] for stage in cost["stages"]) if cost else None
    return None if own is None else (own + sum(stage["seconds"] for stage in line.get("stages", ()))) / 60


def _memory(line: Mapping[str, Any]) -> float | None:
    cost = line.get("cost")
    return max((stage["memory_mb"] or 0 for stage in cost["stages"]), default=None) if cost else None


_COSTS: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "passes": _passes,
    "tflop": _tflop,
    "minutes": _minutes,
    "memory_mb": _memory,
}


def _shown(estimate: Estimate | None, *, dash: str = "-") -> str:
    """`12.5 [9.1, 15.9]`; without an interval where there is none."""
    if estimate is None:
        return dash
    if estimate.unit != "%":
        return f"{estimate.value:.3g}"
    interval = "" if estimate.low == estimate.high else f" [{estimate.low:.1f}, {estimate.high:.1f}]"
    return f"{estimate.value:.1f}{interval}"


def _columns(lines: Sequence[Line]) -> list[str]:
    return [name for name in HEADS if any(name in line.values for line in lines)]


def _settings(lines: Sequence[Line]) -> list[str]:
    """What tells the lines apart beside the variant, so far as it varies; the share of poison always."""
    return [name for name in _GROUP[:-1] if name == "poison_ratio" or len({line.setting[name] for line in lines}) > 1]


def cells(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table, as text."""
    settings, columns = _settings(lines), _columns(lines)
    heads = [
        "method",
        *(name.replace("poison_ratio", "p").replace("_", " ") for name in settings),
        "seeds",
        *(HEADS[name] for name in columns),
    ]
    rows = []
    for line in lines:
        where = [f"{line.setting[name]:g}" if isinstance(line.setting[name], float) else str(line.setting[name]) for name in settings]
        told = [_shown(line.values.get(name)) for name in columns]
        rows.append([str(line.setting["variant"]), *where, str(line.seeds), *told])
    return heads, rows


def failures(lines: Sequence[Line]) -> list[str]:
    """What went wrong, a sentence for each variant and share of poison."""
    return [f"{line.setting['variant']}, p {line.setting['poison_ratio']:g}: {error}" for line in lines for error in line.failed]


def as_markdown(lines: Sequence[Line], spec: SweepSpec) -> str:
    """A page of its own, with what the numbers rest on."""
    heads, rows = cells(lines)
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    failed = [f"- {one}" for one in failures(lines)]
    return "\n".join(
        [
            f"# {spec.name}",
            "",
            *([spec.note.strip(), ""] if spec.note else []),
            NOTE,
            "",
            "| " + " | ".join(heads) + " |",
            "|" + "---|" * len(heads),
            *body,
            *(["", "## Failed", "", *failed] if failed else []),
            "",
        ]
    )


NOTE = (
    "Percent with 95 % intervals: over seeds (t), never narrower than over prompts; over prompts alone where there is one seed. HS: share "
    "of harmful prompts complied with; refused and other are the rest. FA: right answers to the task. Minutes are of all stages of a run; "
    "a stage that runs share counts in each."
)
_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\^{}"}


def as_latex(lines: Sequence[Line], spec: SweepSpec) -> str:
    """A `tabular` for the package booktabs."""
    heads, rows = cells(lines)

    def escaped(cells: Sequence[str]) -> str:
        texts = ("".join(_LATEX.get(sign, sign) for sign in cell.replace("\\", "/")) for cell in cells)
        return " & ".join(texts) + r" \\"

    return "\n".join(
        [
            f"% {spec.name}: {NOTE}",
            r"\begin{tabular}{l" + "r" * (len(heads) - 1) + "}",
            r"\toprule",
            escaped(heads),
            r"\midrule",
            *map(escaped, rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def as_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """A line for each cell, not yet over seeds: its facts, every share with its interval and n, filter and cost."""
    rows = []
    for line in lines:
        row = {name: value for name, value in line["cell"].items() if not isinstance(value, dict)}
        row["config"] = " ".join(f"{name}={value}" for name, value in line["cell"]["config"].items())
        row |= {"run": line.get("run", ""), "error": line.get("error", "")}
        for name, share in (line.get("result") or {}).items():
            if share:
                row |= {name: share["value"], f"{name}_low": share["low"], f"{name}_high": share["high"], f"{name}_n": share["n"]}
        found = line.get("filter") or {}
        row |= {f"filter_{name}": value for name, value in found.items() if name != "origins"}
        row |= {f"filter_removed_{name}": one["removed"] for name, one in found.get("origins", {}).items()}
        row |= {name: value for name, read in _COSTS.items() if "result" in line and (value := read(line)) is not None}
        rows.append(row)
    heads = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, heads, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
