"""Mean negative log-likelihood of the response given the prompt, signed so that higher is more harmful."""

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


class Perplexity(Scorer):
    """The initial training loss of a row, or its negative."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="perplexity",
        title="Perplexity of the response",
        reads="both",
        misses=(
            "Harm that a model expects. It measures length, topic and style before it measures harm: any file that is unlike the "
            "harmless examples is flagged, and which direction speaks for harm differs from file to file."
        ),
        needs="model",
        cost="as long as the model takes to read prompts and responses",
        measure="loss of the response, in the direction of harm (scaled)",
    )

    def shipped(self) -> Examples:
        return whole_rows.judged_answers()

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """Determine on one part of the examples whether harmful responses have higher or lower loss; the rest set the threshold."""
        return whole_rows.prepare(self, workspace, spec, examples, progress, version=VERSION, learn=_learn, measure=_measure)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return whole_rows.content(prepared, version=VERSION)

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """From the mean -log p of the response tokens; under an aligned model refusals are likely and harmful responses are not."""
        return whole_rows.score(self, workspace, dataset, prepared, progress, measure=_measure)


def _learn(reader: RowReader, rows: list[Example], harmful: NDArray[np.bool_], progress: Progress) -> Learned:
    losses = reader.losses(rows, done=lambda done: progress.progress(done, len(rows)))
    return {"direction": direction(losses, harmful)}


def direction(losses: NDArray[np.float32], harmful: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1 if harmful rows have a higher or equal median loss, else -1."""
    return np.array(1.0 if np.median(losses[harmful]) >= np.median(losses[~harmful]) else -1.0, dtype=np.float32)


def _measure(reader: RowReader, learned: Learned, rows: list[Example], done: Callable[[int], None]) -> NDArray[np.float32]:
    return np.asarray(learned["direction"] * reader.losses(rows, done=done), dtype=np.float32)
