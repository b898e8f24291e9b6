"""Differences between two methods over several seeds: the noise of training, which one pair of runs cannot show."""

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
"""Seeds needed for an interval over seeds."""
MARGIN = 2.0
"""Points of accuracy that a defense may cost and still count as no worse than what it is compared with."""


@dataclass(frozen=True)
class SeedDifference:
    """Mean over `seeds` of (b minus a), in percentage points; `adjusted` is Holm's p over the `comparisons` asked at once."""

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
        """`lower`, `higher`, or that there is no clear difference, and why if the interval seems to say otherwise."""
        return verdict(self.difference, self.adjusted, self.comparisons)

    @property
    def size(self) -> str:
        """The difference with interval, seeds, n and corrected p."""
        p = chance(self.difference, self.p_value, self.adjusted)
        return f"{points(self.difference)}, {self.seeds} seeds, n = {self.difference.n}, {p}"

    @property
    def sentence(self) -> str:
        """What may be said of it; of accuracy also whether it is no worse by more than MARGIN points."""
        said = sentence(self, method_title(self.method_a), method_title(self.method_b))
        return said if self.metric != "fa" else f"{said} No worse by more than {MARGIN:g} points: {held(self.difference)}."


def over_seeds(workspace: Workspace, comparisons: Sequence[tuple[Sequence[RunRow], Sequence[RunRow]]]) -> list[SeedDifference]:
    """Differences b minus a in every metric, runs matched by seed, for all comparisons (a, b) at once, with Holm's correction.

    The rows of one side must be seeds of one setting. A comparison with fewer than FEWEST shared seeds gives none. Raises
    EvaluationError if two runs cannot be compared.
    """
    found = [one for rows_a, rows_b in comparisons for one in compared(workspace, rows_a, rows_b)]
    corrected = holm([one.p_value for one in found])
    return [replace(one, adjusted=p, comparisons=len(found)) for one, p in zip(found, corrected, strict=True)]


def held(difference: Estimate) -> str:
    """Whether accuracy is no worse by more than MARGIN points, in a word: shown, refuted, or not shown."""
    return {True: "shown", False: "refuted", None: "not shown"}[no_worse(difference, MARGIN)]


def compared(workspace: Workspace, rows_a: Sequence[RunRow], rows_b: Sequence[RunRow]) -> list[SeedDifference]:
    """The differences of one comparison, b minus a, without correction for any other. Raises as `over_seeds` does."""
    of_a, of_b = ({row.seed: row for row in rows if row.seed is not None} for rows in (rows_a, rows_b))
    shared = sorted(set(of_a) & set(of_b))
    if len(shared) < FEWEST:
        return []
    pairs = [{both.metric: both for both in sides(workspace, of_a[seed].run_id, of_b[seed].run_id)} for seed in shared]
    found = []
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
        found.append(SeedDifference(a.method, b.method, b.poison_ratio, metric, len(shared), tested.estimate, p, p))
    return found
