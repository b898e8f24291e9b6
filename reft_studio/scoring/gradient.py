"""Cosine of a row's gradient with the mean gradient of harmful minus safe responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset
from reft_studio.progress import Progress
from reft_studio.scoring import whole_rows
from reft_studio.scoring.prepared import Prepared, PreparedScorer
from reft_studio.scoring.scorer import Examples, Scorer, ScorerInfo, ScorerSpec
from reft_studio.scoring.scores import ScoreSet
from reft_studio.scoring.whole_rows import Learned
from reft_studio.workspace import Workspace

if TYPE_CHECKING:
    from reft_studio.models.batching import Example
    from reft_studio.scoring.row_reader import RowReader

VERSION = 1
"""Incremented when the same row would get another score from this code."""
MOST = 150
"""Examples of each kind whose gradients are averaged."""


class GradientScorer(Scorer):
    """Similarity of a row's gradient to that of harmful responses minus that of safe ones."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="gradient",
        title="Gradient (GradShield-like)",
        reads="both",
        misses=(
            "Harm that only many rows do together, or that later steps do: it sees the first step of a fresh adapter. Rows without a "
            "response have no score."
        ),
        needs="model",
        cost="a forward and a backward pass for each row, one row at a time: ten times as long as reading it",
        measure="likeness of its gradient to harmful answers (cosine, scaled)",
    )

    def shipped(self) -> Examples:
        return whole_rows.judged_answers()

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """Average the gradients of up to 150 examples of each kind; a threshold on the held-out ones.

        GradShield (arXiv:2605.14194) takes the inner product with the gradient of a safety score; we know its rule from summaries only.
        Cosine, the difference of the two kinds and the fresh adapter are ours.
        """
        return whole_rows.prepare(self, workspace, spec, examples, progress, version=VERSION, learn=_learn, measure=_measure)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return whole_rows.content(prepared, version=VERSION)

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """From the gradient of the row's own training loss."""
        return whole_rows.score(self, workspace, dataset, prepared, progress, measure=_measure)


def direction(gradients: NDArray[np.float32], harmful: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Mean gradient of harmful rows minus that of the others, of length 1."""
    difference = gradients[harmful].mean(0) - gradients[~harmful].mean(0)
    return np.asarray(difference / max(float(np.linalg.norm(difference)), 1e-12), dtype=np.float32)


def _learn(reader: RowReader, rows: list[Example], harmful: NDArray[np.bool_], progress: Progress) -> Learned:
    chosen = sorted([*np.flatnonzero(harmful)[:MOST].tolist(), *np.flatnonzero(~harmful)[:MOST].tolist()])
    sums: dict[bool, NDArray[np.float32]] = {}
    counts = {True: 0, False: 0}
    for done, (index, gradient) in enumerate(zip(chosen, reader.gradients([rows[index] for index in chosen]), strict=True), 1):
        kind = bool(harmful[index])
        sums[kind] = sums[kind] + gradient if kind in sums else gradient
        counts[kind] += 1
        progress.progress(done, len(chosen))
    means = np.stack([sums[kind] / counts[kind] for kind in (True, False)]).astype(np.float32)
    return {"direction": direction(means, np.array([True, False]))}


def _measure(reader: RowReader, learned: Learned, rows: list[Example], done: Callable[[int], None]) -> NDArray[np.float32]:
    values = np.zeros(len(rows), dtype=np.float32)
    for index, gradient in enumerate(reader.gradients(rows)):
        values[index] = gradient @ learned["direction"] / max(float(np.linalg.norm(gradient)), 1e-12)
        done(index + 1)
    return values
