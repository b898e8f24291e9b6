"""What may be said of a file now: its scores, labels, calibration and random rows brought to the one place that decides."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.estimates import Estimates, Evidence, disagree, estimates
from reft_studio.audit.language import READ, LanguageCoverage
from reft_studio.audit.language import UNFAMILIAR as UNFAMILIAR
from reft_studio.audit.threshold import Calibration
from reft_studio.data.dataset import Dataset
from reft_studio.data.index.facets import facet
from reft_studio.data.index.inspect import SHORT
from reft_studio.data.index.languages import UNSURE, Languages
from reft_studio.data.index.rowstore import row_store
from reft_studio.errors import StoreError
from reft_studio.scoring.prepared import Prepared, open_prepared
from reft_studio.scoring.scores import ScoreSet, grid, list_score_sets
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio.draws import Draws
from reft_studio.studio.measures import by_truth, kinds

LOOKED_AT = 300
"""Rows whose language is looked at in a file that was not inspected yet."""
NAMED = 3
"""Most languages named in a sentence."""


def evidence(log: DecisionLog, dataset: Dataset, score: ScoreSet, threshold: float | None) -> Evidence:
    """All that is known of a file and these scores of it; `threshold` is the one in use."""
    sampling = Draws(log, score, 0.0 if threshold is None else threshold)
    prepared = _prepared(log, score)
    counts = by_truth(dataset, score)
    return Evidence(
        file=counts,
        calibration=None if prepared is None else _calibration(prepared, dataset),
        sample=sampling.sample(),
        reading=reading(dataset, score, prepared),
        others_disagree=disagree(counts) and _others_disagree(log, dataset, score),
        line=None if threshold is None else int(grid(threshold)),
        standing=None if threshold is None else sampling.standing(),
        waiting=score.rows - score.reached,
    )


def reading(dataset: Dataset, score: ScoreSet, prepared: Prepared | None) -> LanguageCoverage:
    """How much of a file its scorer does not read; of one that was deleted (None) only what was measured when it scored."""
    if prepared is None or prepared.is_lab:
        return LanguageCoverage(unfamiliar=score.info.get("unfamiliar_share"))
    return _unread(dataset, prepared)


def judged(log: DecisionLog, dataset: Dataset, score: ScoreSet, threshold: float | None) -> Estimates:
    """What may be shown of this file."""
    return estimates(evidence(log, dataset, score, threshold))


def _prepared(log: DecisionLog, score: ScoreSet) -> Prepared | None:
    try:
        return open_prepared(log.workspace, score.teacher)
    except StoreError:
        return None  # it was deleted: what it was calibrated on is gone


def _calibration(prepared: Prepared, dataset: Dataset) -> NDArray[np.int64] | None:
    try:
        return kinds(Calibration.of(prepared, dataset))
    except StoreError:
        return None  # a scorer that was prepared without


def _unread(dataset: Dataset, prepared: Prepared) -> LanguageCoverage:
    """Share of rows in a language that the calibration is not in, and which; not known of a file without rows."""
    labels, counts = _spoken(dataset)
    if not counts.sum():
        return LanguageCoverage()
    read = {UNSURE, *prepared.spec.get("languages", READ)}
    foreign = sorted(((int(rows), label) for label, rows in zip(labels, counts.tolist(), strict=True) if label not in read), reverse=True)
    return LanguageCoverage(
        unread=sum(rows for rows, _ in foreign) / int(counts.sum()), languages=", ".join(name for n, name in foreign[:NAMED] if n)
    )


def _spoken(dataset: Dataset) -> tuple[list[str], NDArray[np.int64]]:
    """Languages of the rows and how many are in each; of rows spread evenly over a file that was not inspected yet."""
    known = facet(dataset, "language")
    return (known.labels, known.counts().astype(np.int64)) if known is not None else _some_spoken(dataset)


@lru_cache(maxsize=16)
def _some_spoken(dataset: Dataset) -> tuple[list[str], NDArray[np.int64]]:
    places = np.unique(np.linspace(0, dataset.rows - 1, LOOKED_AT).astype(np.int64)) if dataset.rows else np.zeros(0, np.int64)
    rows = row_store(dataset).take(places, ["prompt", "response"]) if len(places) else []
    spoken = Languages(len(rows))
    spoken.add([row["prompt"] if len(row["prompt"]) >= SHORT else f"{row['prompt']} {row['response']}" for row in rows])
    labels, codes = spoken.result()
    return labels, np.bincount(codes, minlength=len(labels))


def _others_disagree(log: DecisionLog, dataset: Dataset, score: ScoreSet) -> bool:
    others = [one for one in list_score_sets(log.workspace, dataset.id) if one.key != score.key and one.finished]
    return bool(others) and all(disagree(by_truth(dataset, one)) for one in others)
