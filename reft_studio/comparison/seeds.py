"""Differences between two methods over several seeds, which include the variance of training; a pair of runs does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from reft_studio.comparison.flips import better, chance, points, sentence, sides, verdict
from reft_studio.comparison.table import METRICS, Metric, RunRow, method_title
from reft_studio.evaluation.result import cluster_of
from reft_studio.paired import crossed_difference, holm, no_worse
from reft_studio.stats import Estimate
from reft_studio.workspace import Workspace

FEWEST = 2
"""Minimum seeds for an interval over seeds."""
MARGIN = 2.0
"""Non-inferiority margin: percentage points of accuracy that a defense may lose and still count as no worse."""


@dataclass(frozen=True)
class SeedDifference:
    """Mean over `seeds` of (b minus a), in percentage points; `adjusted` is Holm's p over `comparisons` tests."""

    method_a: str
    method_b: str
    poison_ratio: float | None
    metric: Metric
    seeds: int
    difference: Estimate
    p_value: float
    adjusted: float
    comparisons: int = 1

    @property
    def better(self) -> Literal["a", "b"] | None:
        """The better method, or None when the test does not support a claim."""
        return better(self.metric, self.difference, self.adjusted)

    @property
    def verdict(self) -> str:
        """`lower`, `higher`, or that there is no clear difference, with the reason if the interval seems to say otherwise."""
        return verdict(self.difference, self.adjusted, self.comparisons)

    @property
    def size(self) -> str:
        """The difference with interval, seeds, n and corrected p."""
        p = chance(self.difference, self.p_value, self.adjusted)
        return f"{points(self.difference)}, {self.seeds} seeds, n = {self.difference.n}, {p}"

    @property
    def sentence(self) -> str:
        """The conclusion; for accuracy also whether it is no worse by more than MARGIN points."""
        conclusion = sentence(self, method_title(self.method_a), method_title(self.method_b))
        if self.metric != "fa":
            return conclusion
        return f"{conclusion} No worse by more than {MARGIN:g} points: {non_inferior(self.difference)}."


def over_seeds(workspace: Workspace, comparisons: Sequence[tuple[Sequence[RunRow], Sequence[RunRow]]]) -> list[SeedDifference]:
    """Differences b minus a in every metric, runs matched by seed, for all comparisons (a, b), with Holm's correction.

    The rows of one side must be seeds of one setting. A comparison with fewer than FEWEST shared seeds is left out. Raises
    EvaluationError if two runs are not comparable.
    """
    differences = [difference for rows_a, rows_b in comparisons for difference in compared(workspace, rows_a, rows_b)]
    corrected = holm([difference.p_value for difference in differences])
    return [replace(difference, adjusted=p, comparisons=len(differences)) for difference, p in zip(differences, corrected, strict=True)]


def non_inferior(difference: Estimate) -> str:
    """Whether accuracy is no worse by more than MARGIN points, in a word: shown, refuted, or not shown."""
    return {True: "shown", False: "refuted", None: "not shown"}[no_worse(difference, MARGIN)]


def compared(workspace: Workspace, rows_a: Sequence[RunRow], rows_b: Sequence[RunRow]) -> list[SeedDifference]:
    """The differences of one comparison, b minus a, uncorrected. Raises as `over_seeds` does."""
    of_a, of_b = ({row.seed: row for row in rows if row.seed is not None} for rows in (rows_a, rows_b))
    shared = sorted(set(of_a) & set(of_b))
    if len(shared) < FEWEST:
        return []
    pairs = [{both.metric: both for both in sides(workspace, of_a[seed].run_id, of_b[seed].run_id)} for seed in shared]
    differences = []
    for metric in METRICS:
        if not all(metric in pair for pair in pairs):
            continue
        changes = [
            {prompt: int(b) - int(a) for prompt, a, b in zip(pair[metric].prompts, pair[metric].a, pair[metric].b, strict=True)}
            for pair in pairs
        ]
        common = [prompt for prompt in changes[0] if all(prompt in seed for seed in changes)]
        found_changes = np.array([[seed[prompt] for prompt in common] for seed in changes])
        tested = crossed_difference(found_changes, clusters=[cluster_of(text) for _, text in common])
        a, b = of_a[shared[0]], of_b[shared[0]]
        p = tested.p_value
        differences.append(SeedDifference(a.method, b.method, b.poison_ratio, metric, len(shared), tested.estimate, p, p))
    return differences
