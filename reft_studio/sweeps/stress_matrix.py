"""Effects of attacks as matrices with a column per attack: recall of filters without training, else the harmful score of the models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reft_studio.attacks import ATTACKS
from reft_studio.stats import Estimate, wilson
from reft_studio.sweeps.spec import SweepSpec
from reft_studio.sweeps.table import VariantResult, failures

_SETTING = ("model", "task", "rows", "poison_ratio")
_SHOWS = {"prompt": "prompt", "response": "answer", "both": "prompt and answer", "nowhere": "nowhere: harmless row by row *"}
_HARM = (
    "Share of harmful test prompts that the finetuned model complies with, asked as they are, and as the attacker asks them. `-`: the "
    "attack has no frame of its own, or the run was not done. Intervals stand in the table above. \\* Rows that are harmless each for "
    "itself."
)
_HARMLESS = (
    "\\* Rows that are harmless each for itself, and harm together. Of these, recall is the share of the attack's rows that the filter "
    "takes out: it counts rows of the attack, not harmful rows."
)


def is_stress(spec: SweepSpec) -> bool:
    """Whether a recipe only measures filters under several attacks."""
    return not spec.train and len(spec.attacks) > 1


def as_markdown(lines: Sequence[VariantResult], spec: SweepSpec) -> str:
    """The page: one matrix per base, task, size and poison ratio, then the attacks."""
    parts = [f"# {spec.name}", "", *([spec.note.strip(), ""] if spec.note else [])]
    settings: list[tuple[Any, ...]] = list(dict.fromkeys(_setting(line) for line in lines))
    for setting in settings:
        own = [line for line in lines if _setting(line) == setting]
        if len(settings) > 1:
            parts += [f"## {_named(setting)}", ""]
        parts += [*_table(_matrix(own, spec.attacks)), "", _intervals(own), ""]
    marked = [name for name in spec.attacks if ATTACKS.get(name).info.harmless_by_label]
    parts += [*([_HARMLESS, ""] if marked else []), "## The attacks", "", *_table(_described(spec.attacks)), ""]
    failed = [f"- {failure}" for failure in dict.fromkeys(failures(lines))]
    return "\n".join([*parts, *(["## Failed", "", *failed, ""] if failed else [])])


def harm_markdown(lines: Sequence[VariantResult], spec: SweepSpec) -> str:
    """A section for the page of a sweep that trains under several attacks: HS, and HS in the attack's frame; empty for one attack."""
    if len(spec.attacks) == 1 or not any("hs" in line.values for line in lines):
        return ""
    parts = ["", "## Under attack", "", _HARM, ""]
    settings = list(dict.fromkeys(_setting(line) for line in lines))
    for setting in settings:
        own = [line for line in lines if _setting(line) == setting]
        where = "" if len(settings) == 1 else f", {_named(setting)}"
        for name, head in (("hs", "HS, %"), ("hs_framed", "HS in the attack's frame, %")):
            if any(name in line.values for line in own):
                rows = [[variant, *cells] for variant, cells in _across(own, spec.attacks, name)]
                parts += [*_table([[f"{head}{where}", *map(_marked, spec.attacks)], *rows]), ""]
    return "\n".join([*parts, *_table(_described(spec.attacks)), ""])


def _across(lines: Sequence[VariantResult], attacks: Sequence[str], name: str) -> list[tuple[str, list[str]]]:
    """Each variant with a value per attack, in the order of the recipe."""
    by_variant: dict[str, dict[str, Estimate | None]] = {}
    for line in lines:
        by_variant.setdefault(str(line.setting["variant"]), {})[line.setting["attack"]] = line.values.get(name)
    return [(variant, [_percent(values.get(attack)) for attack in attacks]) for variant, values in by_variant.items()]


def _named(setting: tuple[Any, ...]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in zip(_SETTING, setting, strict=True))


def _setting(line: VariantResult) -> tuple[Any, ...]:
    return tuple(line.setting[name] for name in _SETTING)


def _matrix(lines: Sequence[VariantResult], attacks: Sequence[str]) -> list[list[str]]:
    """Heads and rows: recall in percent by filter and attack, then the range of the false positive rate."""
    heads = ["recall, % of the attack's rows", *(_marked(name) for name in attacks), "FPR, % of the other rows"]
    rows = []
    for variant, cells in _across(lines, attacks, "recall"):
        rates = [line.values["false_positive_rate"] for line in lines if line.setting["variant"] == variant and "recall" in line.values]
        rows.append([_filter(variant), *cells, _range(rates)])
    return [heads, *rows]


def _filter(variant: str) -> str:
    """The filter alone, since nothing is trained with the method."""
    _, separator, name = variant.partition(" + filter")
    return (name.strip() or "Refusal feature") if separator else variant


def _marked(attack: str) -> str:
    return f"{attack} *" if ATTACKS.get(attack).info.harmless_by_label else attack


def _percent(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.0f}"


def _range(rates: Sequence[Estimate]) -> str:
    """`17.9`, or `0.0 to 0.1` where an attack changes what is flagged of the other rows."""
    shown = [f"{value:.1f}" for value in (min(rate.value for rate in rates), max(rate.value for rate in rates))] if rates else ["-"]
    return " to ".join(dict.fromkeys(shown))


def _intervals(lines: Sequence[VariantResult]) -> str:
    """Examples of the intervals of a matrix's shares."""
    rows = [line.values["recall"].n for line in lines if "recall" in line.values]
    if not rows:
        return "No filter was asked yet."
    least, seeds = min(rows), max(line.seeds for line in lines)
    intervals = ((hits, wilson(hits, least)) for hits in (0, least // 2, least))
    examples = [f"{100 * hits / least:.0f} is [{interval.low:.0f}, {interval.high:.0f}]" for hits, interval in intervals]
    return (
        f"Each share is of {least} rows of the attack{f' a seed, over {seeds} seeds' if seeds > 1 else ', one seed'}. 95 % intervals "
        f"(Wilson): {', '.join(examples)}. `-`: the filter did nothing (the control drops as many rows as the refusal feature flags)."
    )


def _described(attacks: Sequence[str]) -> list[list[str]]:
    infos = [ATTACKS.get(name).info for name in attacks]
    return [
        ["attack", "what it does", "harm can be read in", "after"],
        *([info.name, info.summary, _SHOWS[info.shows], info.paper] for info in infos),
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as Markdown, the first as heads."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]
