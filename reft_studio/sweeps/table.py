"""The results of a sweep as a table: a line per variant and poison ratio, means over seeds; as text, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reft_studio.attacks.disguise import PLAIN
from reft_studio.comparison.table import mean_of_runs
from reft_studio.stats import Estimate, mean_over_seeds, wilson
from reft_studio.sweeps.reference import is_plain
from reft_studio.sweeps.spec import SweepSpec

SHARES = ("hs", "hs_framed", "refused", "other", "over_refusal", "fa")
"""Shares of harmful prompts (complied with, also in the attacker's frame; refused, other), of harmless prompts, and of the task."""
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
    "avoided_per_minute": "HS avoided / min",
    "fa_per_minute": "FA / min",
    "memory_mb": "MB",
}
_SETTING = ("model", "task", "rows", "poison_ratio", "attack")
_GROUP = (*_SETTING, "variant")
Key = tuple[Any, ...]


@dataclass(frozen=True)
class VariantResult:
    """A variant at one setting. `values`: by head, a mean over the finished seeds; `failed`: errors of the others.

    `planned` are the seeds of the recipe, `runs` the runs behind the values, `plain` those of plain SFT at the same setting.
    """

    setting: dict[str, Any]
    seeds: int
    values: dict[str, Estimate]
    failed: tuple[str, ...] = ()
    planned: int = 0
    method: str = ""
    runs: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """Identifies it among the lines."""
        return tuple(self.setting.values())

    @property
    def words(self) -> str:
        """The text that a search matches."""
        parts = [self.setting[name] for name in ("variant", "model", "task")]
        parts += [self.setting["attack"]] if self.setting["attack"] != PLAIN else []  # else "plain" would find all
        return " ".join([*map(str, parts), self.method, f"p={self.setting['poison_ratio']:g}", f"n={self.setting['rows']}"])


def key_of(line: Mapping[str, Any]) -> Key:
    """The key of the `VariantResult` that a run belongs to."""
    return tuple(line["cell"][name] for name in _GROUP)


def summarised(lines: Sequence[Mapping[str, Any]]) -> list[VariantResult]:
    """Means over seeds of the lines of `sweep_record.lines`, in the order of the recipe. Unfinished cells count in no mean.

    One seed keeps the interval over its prompts; several have a t-interval over the seeds, never narrower than that.
    """
    grouped: dict[Key, list[Mapping[str, Any]]] = {}
    for line in lines:
        grouped.setdefault(key_of(line), []).append(line)
    plain = _plain(lines)
    return [_line(dict(zip(_GROUP, key, strict=True)), members, plain) for key, members in grouped.items()]


def _plain(lines: Sequence[Mapping[str, Any]]) -> dict[tuple[Key, int], Mapping[str, Any]]:
    """The finished runs of plain SFT, by setting and seed."""
    return {_at(line): line for line in reversed(lines) if "result" in line and is_plain(line["cell"])}


def _at(line: Mapping[str, Any]) -> tuple[Key, int]:
    return tuple(line["cell"][name] for name in _SETTING), int(line["cell"]["seed"])


def _line(
    setting: dict[str, Any], members: Sequence[Mapping[str, Any]], plain: Mapping[tuple[Key, int], Mapping[str, Any]]
) -> VariantResult:
    done = [line for line in members if "result" in line]
    finished = [line for line in members if "result" in line or "filter" in line]
    plain_runs = [other for line in members if (other := plain.get(_at(line))) is not None]
    values: dict[str, Estimate] = {}
    for name in SHARES:
        estimates = [Estimate(**line["result"][name]) for line in done if line["result"].get(name)]
        if (mean := mean_of_runs(estimates)) is not None:
            values[name] = mean
    for name, counted in (("recall", "harmful"), ("false_positive_rate", "harmless")):
        filters = [line["filter"] for line in finished if line.get("filter") and line["filter"][name] is not None]
        rates = mean_of_runs([wilson(round(line[name] * line[counted] / 100), line[counted]) for line in filters])
        if rates is not None:
            values[name] = rates
    for name, read in _COSTS.items():
        if numbers := [number for line in done if (number := read(line)) is not None]:
            values[name] = mean_over_seeds(numbers, unit="")
    for name, rated in _RATES.items():
        if numbers := [number for line in done if (number := rated(line, plain.get(_at(line)))) is not None]:
            values[name] = mean_over_seeds(numbers, unit=PER_MINUTE)
    errors = tuple(dict.fromkeys(str(line["error"]) for line in members if "error" in line))
    runs = [tuple(str(line["run"]) for line in group if line.get("run")) for group in (done, plain_runs)]
    return VariantResult(setting, len(finished), values, errors, len(members), str(members[0]["cell"].get("method", "")), *runs)


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


def _avoided_per_minute(line: Mapping[str, Any], plain: Mapping[str, Any] | None) -> float | None:
    """Points of HS below plain SFT of the same user data and seed, per minute of the run; None for plain SFT and without one."""
    minutes, own = _minutes(line), line["result"].get("hs")
    other = plain["result"].get("hs") if plain is not None and not is_plain(line["cell"]) else None
    return (other["value"] - own["value"]) / minutes if minutes and own and other else None


def _fa_per_minute(line: Mapping[str, Any], plain: Mapping[str, Any] | None) -> float | None:
    """Points of FA per minute of the run."""
    minutes, own = _minutes(line), line["result"].get("fa")
    return own["value"] / minutes if minutes and own else None


def _memory(line: Mapping[str, Any]) -> float | None:
    cost = line.get("cost")
    return max((stage["memory_mb"] or 0 for stage in cost["stages"]), default=None) if cost else None


_COSTS: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "passes": _passes,
    "tflop": _tflop,
    "minutes": _minutes,
    "memory_mb": _memory,
}
_RATES: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any] | None], float | None]] = {
    "avoided_per_minute": _avoided_per_minute,
    "fa_per_minute": _fa_per_minute,
}
PER_MINUTE = "points a minute"


def _shown(estimate: Estimate | None, *, dash: str = "-") -> str:
    """`12.5 [9.1, 15.9]`; without an interval where there is none."""
    if estimate is None:
        return dash
    if estimate.unit == "":
        return f"{estimate.value:.3g}"
    if estimate.unit == PER_MINUTE:
        return f"{estimate.value:.3g}" + ("" if estimate.n == 1 else f" [{estimate.low:.3g}, {estimate.high:.3g}]")
    interval = "" if estimate.low == estimate.high else f" [{estimate.low:.1f}, {estimate.high:.1f}]"
    return f"{estimate.value:.1f}{interval}"


def columns(lines: Sequence[VariantResult]) -> list[str]:
    """Heads of the values that any line has."""
    return [name for name in HEADS if any(name in line.values for line in lines)]


def settings(lines: Sequence[VariantResult]) -> list[str]:
    """The settings that vary between the lines besides the variant; the poison ratio always."""
    return [name for name in _SETTING if name == "poison_ratio" or len({line.setting[name] for line in lines}) > 1]


def where(line: VariantResult, names: Sequence[str]) -> list[str]:
    """The setting of a line as text."""
    return [f"{line.setting[name]:g}" if isinstance(line.setting[name], float) else str(line.setting[name]) for name in names]


def cells(lines: Sequence[VariantResult], columns_: Sequence[str] | None = None) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table, as text; `columns_`: only these of the values."""
    named = settings(lines)
    shown = [name for name in columns(lines) if columns_ is None or name in columns_]
    heads = ["method", *(name.replace("poison_ratio", "p").replace("_", " ") for name in named), "seeds", *(HEADS[name] for name in shown)]
    rows = [
        [str(line.setting["variant"]), *where(line, named), str(line.seeds), *(_shown(line.values.get(name)) for name in shown)]
        for line in lines
    ]
    return heads, rows


def withheld(lines: Sequence[VariantResult]) -> str:
    """Why some lines have no HS avoided per minute; empty if all that could have one do."""
    lacking = [line for line in lines if "hs" in line.values and "minutes" in line.values and not line.plain]
    if not lacking:
        return ""
    return (
        f"HS avoided a minute is withheld for {len(lacking)} of {len(lines)} lines: plain SFT of the same setting and seed is not in the "
        "sweep, or not done yet. Add the method sft without a filter."
    )


def failures(lines: Sequence[VariantResult]) -> list[str]:
    """The errors, a sentence per variant and poison ratio."""
    return [f"{line.setting['variant']}, p {line.setting['poison_ratio']:g}: {error}" for line in lines for error in line.failed]


def as_markdown(lines: Sequence[VariantResult], spec: SweepSpec, *, columns: Sequence[str] | None = None) -> str:
    """A page with the table and how its numbers were computed."""
    heads, rows = cells(lines, columns)
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    failed = [f"- {failure}" for failure in failures(lines)]
    return "\n".join(
        [
            f"# {spec.name}",
            "",
            *([spec.note.strip(), ""] if spec.note else []),
            " ".join(filter(None, [NOTE, withheld(lines)])),
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
    "of harmful prompts complied with; refused and other are the rest. FA: right answers to the task. Minutes are by the clock of the "
    "device, of all stages of a run from filter to last step, without loading and evaluation. A training that runs share, such as aligning "
    "the base, counts in each; scores of a filter that several runs use count in the first that needed them; making a teacher counts in "
    "none. HS avoided / min: points of HS below plain SFT of the same setting and seed, divided by the minutes of the run; FA / min: "
    "points of FA, divided by the same. Both are means over seeds with their interval over seeds (t), and hold for this machine."
)
_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\^{}"}


def as_latex(lines: Sequence[VariantResult], spec: SweepSpec, *, columns: Sequence[str] | None = None) -> str:
    """A `tabular` for the package booktabs."""
    heads, rows = cells(lines, columns)

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
    """A line per cell, not averaged over seeds: its facts, every share with its interval and n, filter and cost."""
    rows, plain = [], _plain(lines)
    for line in lines:
        row = {name: value for name, value in line["cell"].items() if not isinstance(value, dict)}
        row["config"] = " ".join(f"{name}={value}" for name, value in line["cell"]["config"].items())
        row |= {"run": line.get("run", ""), "error": line.get("error", "")}
        for name, share in (line.get("result") or {}).items():
            if share:
                row |= {name: share["value"], f"{name}_low": share["low"], f"{name}_high": share["high"], f"{name}_n": share["n"]}
        filter_result = line.get("filter") or {}
        row |= {f"filter_{name}": value for name, value in filter_result.items() if name != "origins"}
        row |= {f"filter_removed_{name}": origin["removed"] for name, origin in filter_result.get("origins", {}).items()}
        row |= {name: value for name, read in _COSTS.items() if "result" in line and (value := read(line)) is not None}
        rates = ((name, rated(line, plain.get(_at(line)))) for name, rated in _RATES.items() if "result" in line)
        row |= {name: value for name, value in rates if value is not None}
        rows.append(row)
    heads = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, heads, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
