"""The default comparison: which runs are shown and tested, and the sentences that summarise the result."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reft_studio.comparison.flips import Paired, TestedDifference, paired
from reft_studio.comparison.seeds import SeedDifference, over_seeds
from reft_studio.comparison.table import RunRow, Summary, method_title, summaries
from reft_studio.errors import EvaluationError
from reft_studio.stats import Estimate
from reft_studio.workspace import Workspace

_LOG = logging.getLogger(__name__)
PREFERRED = ("ref_teacher", "distill_only", "filter_only", "sa_ft", "aligned_sft", "sft")
"""The method that others are compared with: the first of these with a run."""
STORY = ("base", "aligned", "sft", "ref_teacher")
"""Shown by default: before finetuning, safety training alone, finetuning without a defense, and with one."""
HEADLINES = 5
"""Maximum sentences of a headline, one per method that the preferred one is compared with."""


@dataclass(frozen=True)
class Opening:
    """The runs shown by default, and a sentence on which these are and what is missing."""

    runs: list[str]
    said: str


def opening(groups: Sequence[Sequence[RunRow]], datasets: Sequence[str], name: str) -> Opening:
    """Base, aligned weights, plain finetuning and Ref-Teacher of one dataset, from the group with most of them.

    `groups` are sets of comparable rows; `datasets` are ids of the user data to prefer, the best first, called `name`.
    If a method was not run on it, the newest runs on it are shown, and if no run was, the newest ones on other data.
    """
    story = max((_story(group, datasets) for group in groups), key=lambda story: (len(story), _newest(story)), default={})
    shown = [row.run_id for method in STORY for row in story.get(method, [])]
    missing = [method_title(method) for method in ("sft", "ref_teacher") if method not in story]
    if not missing:
        before = "".join(f"{_small(method_title(method))}, " for method in ("base", "aligned") if method in story)
        return Opening(shown, f"Shown: {before}and plain SFT and Ref-Teacher on {name}.")
    on_it = [row for group in groups for row in group if row.dataset in datasets]
    group = max(groups, key=lambda group: (sum(row.dataset in datasets for row in group), max(row.created for row in group)), default=[])
    if on_it:
        runs = [row for row in group if row.dataset in datasets]
        sentence = f"There is no {_listed(missing, 'or')} run on {name} yet, so all runs on it are shown."
    else:
        runs = _newest_data(group)
        other = "the newest runs, on other data" if runs else "the models that saw no user data"
        sentence = f"No evaluated run was finetuned on {name} yet, so these are {other}."
    return Opening([row.run_id for row in [*(row for row in group if row.is_reference and row.method != "teacher"), *runs]], sentence)


def _story(group: Sequence[RunRow], datasets: Sequence[str]) -> dict[str, list[RunRow]]:
    """The rows of each method of STORY in the group; for finetuned ones the newest setting, with all its seeds."""
    story = {}
    for method in ("sft", "ref_teacher"):
        for dataset in datasets:
            rows = [row for row in group if row.method == method and row.dataset == dataset and not row.spec.get("drop")]
            if rows and method not in story:
                newest = max(rows, key=lambda row: row.created)
                story[method] = sorted((row for row in rows if row.setting == newest.setting), key=lambda row: row.seed or 0)
    if not story:
        return {}
    model = next(iter(story.values()))[0].spec.get("model")
    for method in ("base", "aligned"):
        rows = [row for row in group if row.method == method]
        named = [row for row in rows if row.run_id == f"base--{model}"]
        if rows:
            story[method] = named or [max(rows, key=lambda row: row.created)]
    return story


def _newest(story: dict[str, list[RunRow]]) -> str:
    return max((row.created for rows in story.values() for row in rows), default="")


def _newest_data(group: Sequence[RunRow]) -> list[RunRow]:
    """The runs on the most recently used data."""
    runs = sorted((row for row in group if not row.is_reference), key=lambda row: row.created)
    return [row for row in runs if row.dataset == runs[-1].dataset]


def headline(rows: Sequence[RunRow], differences: Sequence[TestedDifference], sides: Sequence[tuple[str, str]]) -> list[str]:
    """One sentence per pair of methods: HS and FA of both, and the conclusion about the difference.

    `differences` are tested ones and `sides` the run ids, or methods, (a, b) of each. Without any, the metrics of the models alone.
    """
    means = summaries([row for row in usual_rows(rows) if not row.spec.get("drop")])  # controls are no method's result
    pairs: dict[tuple[str, str], dict[str, TestedDifference]] = {}
    for difference, side in zip(differences, sides, strict=True):
        pairs.setdefault(side, {})[difference.metric] = difference
    alone = {row.run_id: row for row in rows}
    plain = {side: _side(means, alone, side[0]).method for side in pairs}
    first = sorted(pairs, key=lambda side: plain[side] != "sft")[:HEADLINES]
    sentences = [_sentence(_side(means, alone, a), _side(means, alone, b), pairs[a, b]) for a, b in first]
    return sentences or [_alone(mean) for mean in means[:HEADLINES]]


def models_headline(workspace: Workspace, rows: Sequence[RunRow]) -> list[str]:
    """The headline of these models: over seeds where there are several, else run against run."""
    return headline_of(rows, paired_runs(workspace, rows), seed_differences(workspace, rows))


def headline_of(rows: Sequence[RunRow], differences: Sequence[Paired], seeds: Sequence[SeedDifference]) -> list[str]:
    """The headline from differences that were already tested; those over seeds take precedence."""
    if seeds:
        return headline(rows, seeds, [(difference.method_a, difference.method_b) for difference in seeds])
    return headline(rows, differences, [(difference.a, difference.b) for difference in differences])


def _summary(means: Sequence[Summary], side: str) -> Summary:
    """The summary that contains a run, or else that of a method with most seeds."""
    return next((mean for mean in means if side in mean.runs), None) or max(
        (mean for mean in means if mean.method == side), key=lambda mean: mean.seeds
    )


def _side(means: Sequence[Summary], alone: Mapping[str, RunRow], side: str) -> Summary:
    """The tested numbers: of one run where runs were compared, else of the method over its seeds."""
    return summaries([alone[side]])[0] if side in alone else _summary(means, side)


def _sentence(a: Summary, b: Summary, tested: dict[str, TestedDifference]) -> str:
    hs = _clause("HS", a.metric("hs"), b.metric("hs"), tested.get("hs"))
    fa = _clause("FA", a.metric("fa"), b.metric("fa"), tested.get("fa"))
    return f"{b.title} against {a.title}: {'; '.join(part for part in (hs, fa) if part)}."


def _clause(name: str, a: Estimate | None, b: Estimate | None, tested: TestedDifference | None) -> str:
    if a is None or b is None or tested is None:
        return ""
    return f"{name} {b.value:.1f} % against {a.value:.1f} %, {tested.verdict} ({tested.size})"


def _alone(mean: Summary) -> str:
    numbers = [
        f"{name} {estimate.value:.1f} % [{estimate.low:.1f}, {estimate.high:.1f}]"
        for name, estimate in (("HS", mean.hs), ("FA", mean.fa))
        if estimate
    ]
    return f"{mean.title}: {', '.join(numbers) or 'not evaluated'}."


def _listed(names: Sequence[str], word: str = "and") -> str:
    small = [_small(name) for name in names]
    return f" {word} ".join([", ".join(small[:-1]), small[-1]] if len(small) > 1 else small)


def _small(name: str) -> str:
    return name if name.startswith(("Ref", "SA")) else name[0].lower() + name[1:]


def usual_rows(rows: Sequence[RunRow]) -> list[RunRow]:
    """References, runs without a known poison ratio, and those at the ratio with most methods, then runs: a sweep has its own chart."""
    at: dict[float, list[RunRow]] = {}
    for row in rows:
        if row.poison_ratio is not None:
            at.setdefault(row.poison_ratio, []).append(row)
    most = max(at, key=lambda ratio: (len({row.method for row in at[ratio]}), len(at[ratio]), ratio), default=None)
    return [row for row in rows if row.poison_ratio in (None, most)]


def paired_runs(workspace: Workspace, rows: Sequence[RunRow]) -> list[Paired]:
    """Every other method against the preferred one on the same user data, with Holm's correction over all of them."""
    focus, others = _sides(rows)
    pairs = [match for other in others if (match := _match(other, focus))]
    base = next((row for row in rows if row.method == "base"), None)
    if not pairs and focus and base:
        pairs = [(base.run_id, focus[0].run_id)]
    try:
        return paired(workspace, pairs)
    except EvaluationError as exc:
        _LOG.warning("no paired differences between these runs: %s", exc)
        return []


def seed_differences(workspace: Workspace, rows: Sequence[RunRow]) -> list[SeedDifference]:
    """The same comparisons over all shared seeds."""
    focus, others = _sides(rows)
    return over_seeds(workspace, [(_one_setting(other), _one_setting(focus)) for other in others])


def _sides(rows: Sequence[RunRow]) -> tuple[list[RunRow], list[list[RunRow]]]:
    """Runs of the preferred method, and those of every other one, at the usual poison ratio; random-drop controls are left out."""
    runs = [row for row in usual_rows(rows) if not row.is_reference and not row.spec.get("drop")]
    preferred = next((name for name in PREFERRED if any(row.method == name for row in runs)), None)
    names = dict.fromkeys(row.method for row in runs if row.method != preferred)
    return [row for row in runs if row.method == preferred], [[row for row in runs if row.method == name] for name in names]


def _one_setting(rows: Sequence[RunRow]) -> list[RunRow]:
    """Of several settings of a method, the one with most seeds."""
    settings = Counter(row.setting for row in rows)
    return [row for row in rows if row.setting == settings.most_common(1)[0][0]]


def _match(others: Sequence[RunRow], focus: Sequence[RunRow]) -> tuple[str, str] | None:
    """Two runs on the same user data, else with the same poison ratio and seed."""
    for same in (lambda a, b: a.dataset == b.dataset, lambda a, b: (a.poison_ratio, a.seed) == (b.poison_ratio, b.seed)):
        for a in others:
            for b in focus:
                if same(a, b):
                    return a.run_id, b.run_id
    return None
