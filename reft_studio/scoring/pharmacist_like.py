"""Scores alignment rows by how little they help refusals to survive a harmful step: our stand-in for Pharmacist (arXiv:2510.10085)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset
from reft_studio.data.origin.answer_pairs import answer_pairs
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
"""Maximum examples of each part: for alignment, for validation, and harmful responses."""
LENGTH = 0.1
"""L2 norm of the alignment and of the harmful step over B of the fresh adapter; that of Booster's simulated step."""


class PharmacistLike(Scorer):
    """How much training on an alignment row raises the loss of refusals after a simulated harmful step."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="pharmacist_like",
        title="Pharmacist-like (our stand-in)",
        reads="both",
        misses=(
            "It chooses alignment data and is no filter for users' rows: it asks whether a row helps refusals to outlast a harmful step, "
            "to first order and one row at a time. It is our stand-in for Pharmacist (arXiv:2510.10085): the original's losses were not "
            "found. Rows without a response have no score."
        ),
        needs="model",
        cost="a forward and a backward pass for each row, one row at a time: ten times as long as reading it",
        measure="harm to refusals after a harmful step, if trained on (Pharmacist-like, scaled)",
    )

    def shipped(self) -> Examples:
        """The judge's responses to harmful requests: compliant ones are harmful, refusals are for alignment and validation."""
        pairs = [pair for pair in answer_pairs() if pair.kind == "harmful" and pair.response.strip() and pair.verdict != "other"]
        harmful = np.array([pair.verdict == "comply" for pair in pairs])
        return Examples([pair.prompt for pair in pairs], [pair.response for pair in pairs], harmful)

    def prepare(self, workspace: Workspace, spec: ScorerSpec, examples: Examples, progress: Progress) -> PreparedScorer:
        """Compute the gradient of the validation loss after an alignment and a harmful step; a threshold on the held-out examples.

        The harmless examples are refusals: one half is for alignment, the other for validation. The harmful ones are harmful responses.
        """
        return whole_rows.prepare(self, workspace, spec, examples, progress, version=VERSION, learn=_learn, measure=_measure)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return whole_rows.content(prepared, version=VERSION)

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """From the gradient of the row's own training loss."""
        return whole_rows.score(self, workspace, dataset, prepared, progress, measure=_measure)


def step(weights: NDArray[np.float32], gradient: NDArray[np.float32]) -> NDArray[np.float32]:
    """`weights` after a step of length `LENGTH` down the gradient."""
    return np.asarray(weights - LENGTH * gradient / max(float(np.linalg.norm(gradient)), 1e-12), dtype=np.float32)


def _learn(reader: RowReader, rows: list[Example], harmful: NDArray[np.bool_], progress: Progress) -> Learned:
    """∇f_val(w' − η_h·∇h(w')) with w' = w − η_in·∇Σσ(0)·L_i, of length 1; w is B of a fresh adapter."""
    refusals = np.flatnonzero(~harmful)
    parts = [[rows[index] for index in indices[:MOST]] for indices in (refusals[::2], np.flatnonzero(harmful), refusals[1::2])]
    done, total = 0, sum(map(len, parts))

    def mean(examples: Sequence[Example], at: NDArray[np.float32] | None) -> NDArray[np.float32]:
        nonlocal done
        summed = np.zeros(1, dtype=np.float32)
        for gradient in reader.gradients(examples, at=at):
            summed = summed + gradient
            done += 1
            progress.progress(done, total)
        return np.asarray(summed / len(examples), dtype=np.float32)

    aligning, attacking, validating = parts
    first = mean(aligning, None)
    aligned = step(np.zeros_like(first), first)
    attacked = step(aligned, mean(attacking, aligned))
    validation = mean(validating, attacked)
    return {"direction": validation / np.float32(max(float(np.linalg.norm(validation)), 1e-12))}


def _measure(reader: RowReader, learned: Learned, rows: list[Example], done: Callable[[int], None]) -> NDArray[np.float32]:
    """−⟨∇f_val, ∇L_i⟩: ∂J/∂z_i of a row of weight σ(z_i), to first order and up to positive factors that all rows share."""
    values = np.zeros(len(rows), dtype=np.float32)
    for index, gradient in enumerate(reader.gradients(rows)):
        values[index] = -(gradient @ learned["direction"])
        done(index + 1)
    return values
