"""One row per evaluated model, which rows are comparable, and the means of each method over its seeds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow.compute as pc

from reft_studio.comparison.work import RunWork, unequal, work_of
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.defenses import DEFENSES
from reft_studio.errors import StoreError
from reft_studio.evaluation.result import EvaluationResult, complement, evaluated, list_results, load_result
from reft_studio.fingerprint import SHORT, of_value
from reft_studio.stats import Estimate, mean_over_seeds
from reft_studio.training.naming import RunName, head
from reft_studio.training.run_folder import check_facts
from reft_studio.training.run_names import DRAWN, resolver, run_names
from reft_studio.workspace import Workspace, read_json

_LOG = logging.getLogger(__name__)
Metric = Literal["hs", "fa", "over_refusal"]
METRICS: tuple[Metric, ...] = ("hs", "over_refusal", "fa")
METRIC_TITLES: dict[Metric, str] = {"hs": "harmful score", "fa": "finetune accuracy", "over_refusal": "over-refusal"}
HIGHER_IS_BETTER: dict[Metric, bool] = {"hs": False, "fa": True, "over_refusal": False}
REFERENCES: dict[str, str] = {"base": "Base model", "aligned": "Aligned weights", "teacher": "Teacher"}
"""Models that saw no user data, by the prefix of their subject ("base--lab")."""


@dataclass(frozen=True)
class ComparedRun:
    """Facts about a model besides its evaluation; `dataset` is the id of the user data, "" if it saw none.

    `family` is the name without the seed.
    """

    run_id: str
    title: str
    method: str
    seed: int | None
    poison_ratio: float | None
    dataset: str
    rows: int | None
    spec: dict[str, Any]
    family: str = ""


@dataclass(frozen=True)
class RunRow:
    """An evaluated model. `poison_ratio` is 0 to 1, None if unknown; `setting` is equal for runs that differ only in the seed."""

    run_id: str
    title: str
    method: str
    seed: int | None
    poison_ratio: float | None
    task: str
    hs: Estimate | None
    refused: Estimate | None
    other: Estimate | None
    fa: Estimate | None
    fa_lenient: Estimate | None
    over_refusal: Estimate | None
    suite: str
    suite_fingerprint: str
    judge: str
    decoding: dict[str, Any]
    created: str
    dataset: str
    setting: str
    spec: dict[str, Any]
    verdicts: dict[str, dict[str, int]]
    by_category: dict[str, Estimate]
    work: RunWork | None = None
    family: str = ""

    @property
    def is_reference(self) -> bool:
        return self.method in REFERENCES

    @property
    def not_refused(self) -> Estimate | None:
        """Share of harmful prompts not refused: complied or other."""
        return complement(self.refused)

    def metric(self, name: Metric) -> Estimate | None:
        """The estimate called `hs`, `fa` or `over_refusal`."""
        estimate: Estimate | None = getattr(self, name)
        return estimate


@dataclass(frozen=True)
class Summary:
    """A method at one setting: means over its seeds. With one seed the interval over prompts is kept, and `hs.method` says "one seed"."""

    method: str
    title: str
    poison_ratio: float | None
    task: str
    runs: tuple[str, ...]
    hs: Estimate | None
    refused: Estimate | None
    other: Estimate | None
    fa: Estimate | None
    fa_lenient: Estimate | None
    over_refusal: Estimate | None

    @property
    def seeds(self) -> int:
        return len(self.runs)

    @property
    def not_refused(self) -> Estimate | None:
        """Share of harmful prompts not refused: complied or other."""
        return complement(self.refused)

    def metric(self, name: Metric) -> Estimate | None:
        """The estimate called `hs`, `fa` or `over_refusal`."""
        estimate: Estimate | None = getattr(self, name)
        return estimate


def discover(workspace: Workspace) -> list[ComparedRun]:
    """Facts about every evaluated subject of the workspace, oldest evaluation first; damaged runs are skipped and logged."""
    infos, names = [], run_names(workspace)
    for result in list_results(workspace):
        try:
            infos.append(run_info(workspace, result.subject, names))
        except StoreError as exc:
            _LOG.warning("evaluated run left out: %s", exc)
    return infos


def run_info(workspace: Workspace, subject: str, names: Mapping[str, RunName] | None = None) -> ComparedRun:
    """Facts from the run's spec and its user data; for a deleted run only its id."""
    kind, separator, name = subject.partition("--")
    if separator and kind in REFERENCES:
        return ComparedRun(subject, f"{REFERENCES[kind]} ({name})" if name != "lab" else REFERENCES[kind], kind, None, None, "", None, {})
    if not (workspace.folder("runs", subject) / "spec.json").is_file():
        return ComparedRun(subject, f"{subject} (run deleted)", "deleted", None, None, "", None, {})
    check_facts(workspace.folder("runs", subject))
    spec = read_json(workspace.folder("runs", subject) / "spec.json")
    method, seed, dataset_id = str(spec.get("method", "sft")), spec.get("seed"), str(spec.get("dataset", ""))
    dataset = _opened(workspace, dataset_id)
    named = (run_names(workspace) if names is None else names).get(subject) or RunName(head(spec), head(spec))
    rows = dataset.rows if dataset else None
    return ComparedRun(subject, named.title, method, seed, _poison(dataset), dataset_id, rows, spec, named.family)


def load_rows(workspace: Workspace, infos: Sequence[ComparedRun] | None = None) -> list[RunRow]:
    """A row per evaluated model; all of them if no `infos` are given."""
    known = discover(workspace) if infos is None else infos
    return [_row(workspace, info, load_result(workspace, info.run_id)) for info in known if evaluated(workspace, info.run_id)]


def method_title(method: str) -> str:
    """The name of a method for people."""
    if method in REFERENCES:
        return REFERENCES[method]
    return DEFENSES.get(method).info.title if method in DEFENSES else method.replace("_", " ").capitalize()


def comparable(rows: Sequence[RunRow]) -> list[str]:
    """Why these rows are not comparable, one sentence each; empty if they are."""
    checks: tuple[tuple[str, Callable[[RunRow], Hashable]], ...] = (
        (
            "They were asked different prompts (suites: {}). Evaluate them on the same suite.",
            lambda row: (row.suite, row.suite_fingerprint),
        ),
        ("Different judges graded them ({}). Evaluate them with the same judge.", lambda row: row.judge),
        ("They answered with different decoding or template ({}). Evaluate them with the same.", lambda row: _flat(row.decoding)),
    )
    reasons = []
    for sentence, key in checks:
        values = list(dict.fromkeys(key(row) for row in rows))
        if len(values) > 1:
            names = [" ".join(map(str, value)) if isinstance(value, tuple) else str(value) or "not recorded" for value in values]
            reasons.append(sentence.format("; ".join(names)))
    return reasons


def groups(rows: Sequence[RunRow]) -> list[list[RunRow]]:
    """The rows in sets of comparable ones, the largest first."""
    by_key: dict[Hashable, list[RunRow]] = {}
    for row in rows:
        by_key.setdefault((row.suite_fingerprint, row.judge, _flat(row.decoding)), []).append(row)
    return sorted(by_key.values(), key=len, reverse=True)


def caveats(rows: Sequence[RunRow]) -> list[str]:
    """What a reader must know before believing a difference, one sentence each."""
    runs = [row for row in rows if not row.is_reference]
    sentences = []
    means = summaries(runs)
    most = {title: max(mean.seeds for mean in means if mean.title == title) for title in dict.fromkeys(mean.title for mean in means)}
    if single := [title for title, seeds in most.items() if seeds == 1]:
        sentences.append(f"One seed: the noise of training is unknown for {', '.join(single)}. Train more seeds to see it.")
    elif any(mean.seeds == 1 for mean in means):
        sentences.append("Some points rest on one seed, where the noise of training is unknown.")
    if len({row.poison_ratio for row in runs}) > 1:
        sentences.append("The runs had user data with different shares of poison.")
    elif len({row.dataset for row in runs if row.poison_ratio is None}) > 1:
        sentences.append("The runs were trained on different user data.")
    if len({str(row.spec.get("model")) for row in runs}) > 1:
        sentences.append("The runs started from different base models.")
    sentences += unequal([(row.family or row.title, row.work) for row in runs])
    if missing := sum(estimate.missing for row in rows for estimate in (row.hs, row.fa, row.over_refusal) if estimate):
        counted = "prompt has" if missing == 1 else "prompts have"
        sentences.append(f"{missing} {counted} no answer, or none that the judge has a verdict on; they count in no share.")
    return sentences


def summaries(rows: Sequence[RunRow]) -> list[Summary]:
    """Means over seeds per method and setting, in order of first appearance."""
    by_setting: dict[Hashable, list[RunRow]] = {}
    for row in rows:
        by_setting.setdefault((row.method, row.setting, row.poison_ratio, row.suite_fingerprint), []).append(row)
    return [_summary(list({row.run_id: row for row in same}.values())) for same in by_setting.values()]


def _summary(rows: Sequence[RunRow]) -> Summary:
    first = rows[0]
    return Summary(
        method=first.method,
        title=method_title(first.method) if first.is_reference else _setting_title(first, alone=len(rows) == 1),
        poison_ratio=first.poison_ratio,
        task=first.task,
        runs=tuple(row.run_id for row in rows),
        hs=mean_of_runs([row.hs for row in rows]),
        refused=mean_of_runs([row.refused for row in rows]),
        other=mean_of_runs([row.other for row in rows]),
        fa=mean_of_runs([row.fa for row in rows]),
        fa_lenient=mean_of_runs([row.fa_lenient for row in rows]),
        over_refusal=mean_of_runs([row.over_refusal for row in rows]),
    )


def _setting_title(row: RunRow, *, alone: bool) -> str:
    """The name without the seed, except for a run that a person named and that has no other seeds."""
    if not alone and row.family:
        return row.family
    return row.family if row.family and row.title.startswith(row.family) else row.title


def mean_of_runs(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """Mean over seeds; at least as wide as the mean interval over prompts, since all seeds answer the same prompts."""
    known = [estimate for estimate in estimates if estimate is not None]
    if not known:
        return None
    if len(known) == 1:
        return replace(known[0], method=f"one seed, {known[0].method}")
    mean, count = mean_over_seeds([estimate.value for estimate in known], within=(0, 100)), len(known)
    below, above = (
        sum(sides) / count
        for sides in zip(*((estimate.value - estimate.low, estimate.high - estimate.value) for estimate in known), strict=True)
    )
    low, high = min(mean.low, max(0.0, mean.value - below)), max(mean.high, min(100.0, mean.value + above))
    prompts = min(estimate.n for estimate in known)
    missing = sum(estimate.missing for estimate in known)
    return Estimate(mean.value, low, high, prompts, missing, f"{count} seeds, t over them and the interval over prompts")


def _row(workspace: Workspace, info: ComparedRun, result: EvaluationResult) -> RunRow:
    return RunRow(
        run_id=info.run_id,
        title=info.title,
        method=info.method,
        seed=info.seed,
        poison_ratio=info.poison_ratio,
        task=_task(workspace, result),
        hs=result.hs,
        refused=result.refused,
        other=result.other,
        fa=result.fa,
        fa_lenient=result.fa_lenient,
        over_refusal=result.over_refusal,
        suite=result.suite,
        suite_fingerprint=result.suite_fingerprint,
        judge=f"{result.judge} {result.judge_version}",
        decoding=result.decoding,
        created=result.created,
        dataset=info.dataset,
        setting=_setting(workspace, info),
        spec=info.spec,
        verdicts=result.verdicts,
        by_category=result.by_category,
        work=work_of(workspace, info.run_id, info.spec),
        family=info.family or info.title,
    )


def _setting(workspace: Workspace, info: ComparedRun) -> str:
    """Equal for runs that are seeds of one another: the same spec except the seed, and data and teachers that differ only in theirs."""
    spec, resolve = {key: value for key, value in info.spec.items() if key != "seed"}, resolver(workspace)
    spec |= {key: resolve(key, spec[key]).value for key in DRAWN if spec.get(key)}
    return of_value(spec)[:SHORT]


def _task(workspace: Workspace, result: EvaluationResult) -> str:
    """The lab's task, or the name of the dataset; empty if there is none."""
    part = next((part for part in result.suite_settings.get("sets", []) if part["name"] == "task"), None)
    if part is None:
        return ""
    dataset = _opened(workspace, part["of"]) if part.get("source") == "dataset" else None
    return dataset.name if dataset else str(part["of"])


def _poison(dataset: Dataset | None) -> float | None:
    """Share of rows known to be harmful; None if unlabelled or gone, and after an audit, which makes it another case."""
    if dataset is None or dataset.manifest.get("lineage"):
        return None
    if dataset.manifest.get("poison_ratio") is not None:
        return float(dataset.manifest["poison_ratio"])
    known = dataset.table(["known_harmful"]).column(0)
    return None if known.null_count else round((pc.sum(known).as_py() or 0) / dataset.rows, 4)


def _opened(workspace: Workspace, dataset_id: str) -> Dataset | None:
    try:
        return open_dataset(workspace, dataset_id)
    except StoreError:
        return None


def _flat(decoding: dict[str, Any]) -> str:
    return ", ".join(f"{key} {decoding[key]}" for key in sorted(decoding))
