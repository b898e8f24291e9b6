"""Similarity to alignment data: mean cosine of a row's last response state to safe rows (Hsiung et al., arXiv:2506.05346)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset
from reft_studio.progress import Progress
from reft_studio.scoring import whole_rows
from reft_studio.scoring.larf import unit
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


class AlignmentSimilarity(Scorer):
    """Similarity to the harmless examples; whether high or low is harmful is fitted on them and on the harmful ones."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="alignment_similarity",
        title="Similarity to the alignment data",
        reads="both",
        misses=(
            "Whether a row is harmful: it measures likeness. The paper chooses alignment data by it (data like the users' wears off "
            "sooner) and removes no rows; as a filter it also flags harmless rows that are unlike the alignment data."
        ),
        needs="model",
        cost="as long as the model takes to read prompts and responses",
        measure="similarity to the alignment data, in the direction of harm (scaled)",
    )

    def shipped(self) -> Examples:
        return whole_rows.judged_answers()

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """The harmless examples are the alignment rows: one half is the reference, the other half and the harmful ones give the sign."""
        return whole_rows.prepare(self, workspace, spec, examples, progress, version=VERSION, learn=_learn, measure=_measure)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return whole_rows.content(prepared, version=VERSION)

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """From the final hidden state at the last token of the response."""
        return whole_rows.score(self, workspace, dataset, prepared, progress, measure=_measure)


def similarity(states: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) mean cosine to reference rows whose unit-length states have the mean `mean`."""
    return np.asarray(unit(states) @ mean, dtype=np.float32)


def _learn(reader: RowReader, rows: list[Example], harmful: NDArray[np.bool_], progress: Progress) -> Learned:
    states = reader.last_response_states(rows, done=lambda done: progress.progress(done, len(rows)))
    safe = np.flatnonzero(~harmful)
    compared, others = safe[::2], safe[1::2]
    mean = unit(states[compared]).mean(0)
    more = np.median(similarity(states[harmful], mean)) >= np.median(similarity(states[others], mean))
    return {"mean": mean, "direction": np.array(1.0 if more else -1.0, dtype=np.float32)}


def _measure(reader: RowReader, learned: Learned, rows: list[Example], done: Callable[[int], None]) -> NDArray[np.float32]:
    similarities = similarity(reader.last_response_states(rows, done=done), learned["mean"])
    return np.asarray(learned["direction"] * similarities, dtype=np.float32)
