"""What may be said of a file now: its scores, labels, calibration and random rows brought to the one place that decides."""

from __future__ import annotations

import numpy as np

from reft_studio.audit.estimates import Estimates, Evidence, disagree, estimates
from reft_studio.audit.threshold import Calibration
from reft_studio.data.dataset import Dataset
from reft_studio.data.facets import facet
from reft_studio.data.languages import UNSURE
from reft_studio.errors import StoreError
from reft_studio.scoring.prepared import Prepared, open_prepared
from reft_studio.scoring.scores import ScoreSet, grid, list_score_sets
from reft_studio.store.decisions import DecisionLog
from reft_studio.views.measuring import by_truth, kinds
from reft_studio.views.sampling import Sampling

READ = ("English",)
"""Languages that calibration prompts are in unless the scorer's spec names others (`languages`)."""
NAMED = 3
"""Most languages named in a sentence."""


def evidence(log: DecisionLog, dataset: Dataset, score: ScoreSet, threshold: float | None) -> Evidence:
    """All that is known of a file and these scores of it; `threshold` is the one in use."""
    sampling = Sampling(log, score, 0.0 if threshold is None else threshold)
    prepared = _prepared(log, score)
    unread, languages = (None, "") if prepared is None or prepared.is_lab else _unread(dataset, prepared)
    counts = by_truth(dataset, score)
    return Evidence(
        file=counts,
        calibration=None if prepared is None else _calibration(prepared, dataset),
        sample=sampling.sample(),
        unfamiliar=score.info.get("unfamiliar_share") if prepared is None or prepared.is_lab else None,
        unread=unread,
        languages=languages,
        others_disagree=disagree(counts) and _others_disagree(log, dataset, score),
        line=None if threshold is None else int(grid(threshold)),
        standing=None if threshold is None else sampling.standing(),
    )


def judged(log: DecisionLog, dataset: Dataset, score: ScoreSet, threshold: float | None) -> Estimates:
    """What may be shown of this file."""
    return estimates(evidence(log, dataset, score, threshold))


def _prepared(log: DecisionLog, score: ScoreSet) -> Prepared | None:
    try:
        return open_prepared(log.workspace, score.teacher)
    except StoreError:
        return None  # it was deleted: what it was calibrated on is gone


def _calibration(prepared: Prepared, dataset: Dataset) -> np.ndarray | None:
    try:
        return kinds(Calibration.of(prepared, dataset))
    except StoreError:
        return None  # a scorer that was prepared without


def _unread(dataset: Dataset, prepared: Prepared) -> tuple[float | None, str]:
    """Share of rows in a language that the calibration is not in, and which; None before the file was inspected."""
    spoken = facet(dataset, "language")
    if spoken is None or not dataset.rows:
        return None, ""
    read = {UNSURE, *prepared.spec.get("languages", READ)}
    counts = spoken.counts()
    foreign = sorted(
        ((int(rows), label) for label, rows in zip(spoken.labels, counts.tolist(), strict=True) if label not in read), reverse=True
    )
    return sum(rows for rows, _ in foreign) / max(1, int(counts.sum())), ", ".join(label for rows, label in foreign[:NAMED] if rows)


def _others_disagree(log: DecisionLog, dataset: Dataset, score: ScoreSet) -> bool:
    others = [one for one in list_score_sets(log.workspace, dataset.id) if one.key != score.key and one.finished]
    return bool(others) and all(disagree(by_truth(dataset, one)) for one in others)
