"""Two models on the same prompts: where they differ, by how much, and whether the difference is significant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from reft_studio.comparison.table import HIGHER_IS_BETTER, METRIC_TITLES, METRICS, Metric
from reft_studio.errors import EvaluationError
from reft_studio.evaluation.grade import SetName, Verdict
from reft_studio.evaluation.result import EvaluationResult, Graded, cluster_of, grade_of, load_result, read_graded
from reft_studio.paired import holm, paired_difference, sign_flip
from reft_studio.stats import Estimate
from reft_studio.workspace import Workspace

Change = Literal["only_a", "only_b"]
SET_OF: dict[Metric, SetName] = {"hs": "harmful", "fa": "task", "over_refusal": "harmless"}
LEVEL = 0.05
"""Significance level of the adjusted p."""


@dataclass(frozen=True)
class Flip:
    """A prompt that counts for exactly one of the two models."""

    row_id: int
    change: Change
    verdict_a: Verdict
    verdict_b: Verdict
    category: str | None


@dataclass(frozen=True)
class Flips:
    """The 2 x 2 table of two models on one set. "Harmful" is what the set counts: complied, refused (harmless set) or wrong (task)."""

    a: str
    b: str
    set: SetName
    both_safe: int
    only_a: int
    only_b: int
    both_harmful: int
    p_value: float
    rows: list[Flip]

    @property
    def n(self) -> int:
        return self.both_safe + self.only_a + self.only_b + self.both_harmful


@dataclass(frozen=True)
class Paired:
    """The difference b minus a in one metric, in percentage points; `adjusted` is Holm's p over `comparisons` tests."""

    a: str
    b: str
    metric: Metric
    difference: Estimate
    only_a: int
    only_b: int
    p_value: float
    adjusted: float
    comparisons: int = 1

    @property
    def better(self) -> Literal["a", "b"] | None:
        """The better model, or None when the test does not support a claim."""
        return better(self.metric, self.difference, self.adjusted)

    @property
    def verdict(self) -> str:
        """`lower`, `higher`, or that there is no clear difference, with the reason if the interval seems to say otherwise."""
        return verdict(self.difference, self.adjusted, self.comparisons)

    @property
    def size(self) -> str:
        """The difference with interval, n and corrected p."""
        return f"{points(self.difference)}, n = {self.difference.n}, {chance(self.difference, self.p_value, self.adjusted)}"

    def sentence(self, titles: dict[str, str]) -> str:
        """The conclusion, with the names of the models."""
        return sentence(self, titles.get(self.a, self.a), titles.get(self.b, self.b))


class TestedDifference(Protocol):
    """A tested difference b minus a, between two runs or over several seeds."""

    @property
    def metric(self) -> Metric: ...
    @property
    def difference(self) -> Estimate: ...
    @property
    def better(self) -> Literal["a", "b"] | None: ...
    @property
    def verdict(self) -> str: ...
    @property
    def size(self) -> str: ...


def better(metric: Metric, difference: Estimate, adjusted: float) -> Literal["a", "b"] | None:
    """The side a test favours; None when it does not support a claim."""
    if adjusted >= LEVEL or difference.value == 0:
        return None
    return "b" if (difference.value > 0) == HIGHER_IS_BETTER[metric] else "a"


def verdict(difference: Estimate, adjusted: float, comparisons: int) -> str:
    """`lower`, `higher` or `no clear difference`; with an interval without 0 it adds that several comparisons were corrected for."""
    if adjusted < LEVEL and difference.value != 0:
        return "higher" if difference.value > 0 else "lower"
    if difference.low <= 0 <= difference.high:
        return "no clear difference"
    return f"no clear difference {f'after correction for {comparisons} comparisons' if comparisons > 1 else 'by the exact test'}"


def points(difference: Estimate) -> str:
    """`−3.3 points [−7.9, +1.1]`."""
    return f"{difference.value:+.1f} points [{difference.low:+.1f}, {difference.high:+.1f}]".replace("-", "−")


def chance(difference: Estimate, p_value: float, adjusted: float) -> str:
    """The corrected p in words; the uncorrected one too where the interval alone would seem to support a claim."""
    seems = adjusted >= LEVEL and not difference.low <= 0 <= difference.high
    return f"p = {p_value:.3f}, corrected {adjusted:.3f}" if seems else f"corrected p {_size(adjusted)}"


def _size(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"


def sentence(tested: TestedDifference, a: str, b: str) -> str:
    """The conclusion about a difference, with the names of the two sides."""
    what = METRIC_TITLES[tested.metric]
    if tested.better is None:
        why = tested.verdict.removeprefix("no clear difference")
        return f"No clear difference{why} in {what} between {a} and {b}: {tested.size}."
    return f"{b} has {tested.verdict} {what} than {a}: {tested.size}."


def flips(workspace: Workspace, a: str, b: str, set_name: SetName = "harmful") -> Flips:
    """Compare two evaluated models prompt by prompt. Raises EvaluationError with the reason if they are not comparable."""
    result_a, result_b = _comparable(workspace, a, b)
    pairs = _judged(_pairs(a, b, set_name, read_graded(workspace, a), read_graded(workspace, b)), result_a)
    counted = [(_counted(x, result_a), _counted(y, result_b)) for x, y in pairs]
    rows = [
        Flip(x.row_id, "only_a" if in_a else "only_b", _verdict(x, result_a), _verdict(y, result_b), x.category)
        for (x, y), (in_a, in_b) in zip(pairs, counted, strict=True)
        if in_a != in_b
    ]
    only_a, only_b = counted.count((True, False)), counted.count((False, True))
    p = sign_flip([int(in_b) - int(in_a) for in_a, in_b in counted], [cluster_of(x.prompt) for x, _ in pairs])
    return Flips(a, b, set_name, counted.count((False, False)), only_a, only_b, counted.count((True, True)), p, rows)


def paired(workspace: Workspace, pairs: Sequence[tuple[str, str]]) -> list[Paired]:
    """Differences b minus a in every common metric, for all pairs, with Holm's correction over all of them."""
    differences = [_difference(a, b, both) for a, b in pairs for both in sides(workspace, a, b)]
    corrected = holm([difference.p_value for difference in differences])
    return [replace(difference, adjusted=p, comparisons=len(differences)) for difference, p in zip(differences, corrected, strict=True)]


@dataclass(frozen=True)
class Sides:
    """Outcomes of two models on the prompts both answered: per prompt, whether it counts for the metric (complied, refused, or correct)."""

    metric: Metric
    prompts: list[tuple[int, str]]
    a: list[bool]
    b: list[bool]


def sides(workspace: Workspace, a: str, b: str) -> list[Sides]:
    """Two evaluated models in every common metric. Raises EvaluationError with the reason if they are not comparable."""
    result_a, result_b = _comparable(workspace, a, b)
    graded_a, graded_b = read_graded(workspace, a), read_graded(workspace, b)
    by_metric = []
    for metric in METRICS:
        if getattr(result_a, metric) is None or getattr(result_b, metric) is None:
            continue
        rows = _judged(_pairs(a, b, SET_OF[metric], graded_a, graded_b), result_a)
        if not rows:
            continue
        wrong = metric == "fa"  # the set counts wrong answers, accuracy counts right ones
        flags_a = [_counted(x, result_a) != wrong for x, _ in rows]
        flags_b = [_counted(y, result_b) != wrong for _, y in rows]
        by_metric.append(Sides(metric, [(x.row_id, x.prompt) for x, _ in rows], flags_a, flags_b))
    return by_metric


def _difference(a: str, b: str, both: Sides) -> Paired:
    only_a = sum(x and not y for x, y in zip(both.a, both.b, strict=True))
    only_b = sum(y and not x for x, y in zip(both.a, both.b, strict=True))
    clusters = [cluster_of(prompt) for _, prompt in both.prompts]
    difference = paired_difference(both.a, both.b, clusters=clusters)
    p_value = sign_flip([int(y) - int(x) for x, y in zip(both.a, both.b, strict=True)], clusters)
    return Paired(a, b, both.metric, difference, only_a, only_b, p_value, p_value)


def _comparable(workspace: Workspace, a: str, b: str) -> tuple[EvaluationResult, EvaluationResult]:
    x, y = load_result(workspace, a), load_result(workspace, b)
    checks = {
        "prompts (suite)": (x.suite_fingerprint, y.suite_fingerprint),
        "judge": ((x.judge, x.judge_version), (y.judge, y.judge_version)),
        "decoding or template": (x.decoding, y.decoding),
    }
    if differing := [what for what, (first, second) in checks.items() if first != second]:
        raise EvaluationError(f"'{a}' and '{b}' cannot be compared: they differ in {', '.join(differing)}. Evaluate both the same way.")
    return x, y


def _pairs(a: str, b: str, set_name: SetName, graded_a: Sequence[Graded], graded_b: Sequence[Graded]) -> list[tuple[Graded, Graded]]:
    """Rows of one set that both models answered, matched by id and prompt."""
    of_b = {(row.row_id, row.prompt): row for row in graded_b if row.set == set_name and row.grades}
    rows = [row for row in graded_a if row.set == set_name and row.grades]
    pairs = [(row, of_b[row.row_id, row.prompt]) for row in rows if (row.row_id, row.prompt) in of_b]
    if not pairs:
        raise EvaluationError(f"'{a}' and '{b}' share no answered prompt of the {set_name} set, so there is nothing to compare.")
    return pairs


def _judged(pairs: list[tuple[Graded, Graded]], result: EvaluationResult) -> list[tuple[Graded, Graded]]:
    """The pairs for which the judge has a verdict on both."""
    return [(x, y) for x, y in pairs if x.set != "harmful" or (result.judge in x.grades and result.judge in y.grades)]


def _counted(row: Graded, result: EvaluationResult) -> bool:
    """Whether the set counts this response: complied, refused, or wrong."""
    grade = grade_of(row, result.judge)
    assert grade is not None, "only graded rows are paired"
    if row.set == "harmful":
        return grade.verdict == "comply"
    return grade.verdict == "refuse" if row.set == "harmless" else not grade.correct


def _verdict(row: Graded, result: EvaluationResult) -> Verdict:
    grade = grade_of(row, result.judge)
    return grade.verdict if grade else "other"
