"""The Filter page: scores as a histogram, the threshold in use and what speaks against trusting it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reft_studio.audit.language import no_judge
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.index.facets import facet
from reft_studio.data.writing.rows import check_ending, write_rows
from reft_studio.errors import StoreError
from reft_studio.scoring import SCORERS
from reft_studio.scoring.prepared import Prepared, open_prepared
from reft_studio.scoring.scorer import ScorerInfo
from reft_studio.scoring.scores import ScoreSet as ScoreSet
from reft_studio.scoring.scores import binned, grid, list_score_sets, open_score_set, sparse
from reft_studio.store import settings
from reft_studio.studio.estimates import reading
from reft_studio.studio.project import chosen_threshold
from reft_studio.workspace import Workspace

NEAR = 20
"""Bins of the 0.001 grid on either side of the line that count as near to it."""


@dataclass(frozen=True)
class FilterView:
    """All the Filter page draws at once. `bins` are [bin, rows, known harmful, known harmless] on the 0.001 grid over [-1, 1].

    `rule` found the threshold in use; None: a person, or the calibration.
    """

    score: ScoreSet
    prepared: Prepared
    info: ScorerInfo
    bins: list[list[int]]
    threshold: float
    calibrated: float
    labels_known: bool
    warning: str | None
    near_threshold: int
    rule: str | None


@dataclass
class Scores:
    """The scores of one workspace's datasets."""

    workspace: Workspace

    def every(self, dataset_id: str) -> list[ScoreSet]:
        """All of one dataset, oldest first."""
        return list_score_sets(self.workspace, dataset_id)

    def find(self, dataset_id: str, key: str) -> ScoreSet:
        """One of them by its key. Raises StoreError if there is none."""
        return open_score_set(self.workspace, dataset_id, key)

    def view(self, dataset_id: str, key: str) -> FilterView:
        """All that the Filter page draws of them. Raises StoreError if the dataset or its scores are gone."""
        score = open_score_set(self.workspace, dataset_id, key)
        prepared = open_prepared(self.workspace, score.teacher)
        dataset = open_dataset(self.workspace, dataset_id)
        counted = counts(dataset, score)
        threshold = chosen_threshold(self.workspace, score) or 0.0
        line = int(grid(threshold))
        near = [rows for place, rows, _, _ in counted.bins if abs(place - line) <= NEAR]
        return FilterView(
            score=score,
            prepared=prepared,
            info=SCORERS.get(prepared.scorer).info,
            bins=counted.bins,
            threshold=threshold,
            calibrated=score.threshold,
            labels_known=counted.labels_known,
            warning=language_warning(dataset, score, prepared),
            near_threshold=sum(near),
            rule=settings.get(self.workspace, f"threshold-rule:{dataset_id}:{key}"),
        )

    def warning(self, dataset_id: str, score: ScoreSet) -> str | None:
        """Why these scores should not be trusted: their scorer does not read the file; None if nothing speaks against it."""
        return language_warning(open_dataset(self.workspace, dataset_id), score, scorer_of(self.workspace, score))


@dataclass(frozen=True)
class Counts:
    """Rows by score and truth: everything that a threshold asks of a file, whatever its size."""

    bins: list[list[int]]
    labels_known: bool


def counts(dataset: Dataset, score: ScoreSet) -> Counts:
    """The histogram of these scores; counted once, then kept."""
    return _counts(dataset, score, score.stamp())


def language_warning(dataset: Dataset, score: ScoreSet, prepared: Prepared | None) -> str | None:
    """Why these scores should not be trusted: their scorer does not read the file. Said wherever a number rests on them."""
    return no_judge(reading(dataset, score, prepared), drift=score.info.get("drift"))


def scorer_of(workspace: Workspace, score: ScoreSet) -> Prepared | None:
    """What made these scores; None if it was deleted."""
    try:
        return open_prepared(workspace, score.teacher)
    except StoreError:
        return None


@lru_cache(maxsize=16)
def _counts(dataset: Dataset, score: ScoreSet, _stamp: int) -> Counts:
    truth = facet(dataset, "truth")
    if truth is None:
        raise StoreError(f"The labels of '{dataset.name}' cannot be read. Import the file again.")
    by_truth = binned(score.bins(), truth.codes, len(truth.labels))
    return Counts(sparse(by_truth), labels_known=int(truth.counts()[-1]) == 0)


def check_scores_file(out: Path) -> None:
    """Raises SpecError, with the endings there are, if scores are not written to such a file."""
    check_ending(out, texts=False)


def write_scores(out: Path, scores: ScoreSet, dropped: NDArray[np.bool_]) -> None:
    """row_id, score (empty: not scored) and flagged, in dataset order, as a file of the user's."""
    rounded = np.round(np.asarray(scores.scores(), dtype=np.float64), 6)
    columns = {"row_id": pa.array(scores.row_ids(), pa.int64()), "score": pa.array(rounded, from_pandas=True), "flagged": pa.array(dropped)}
    write_rows(pa.table(columns), out, texts=False)
