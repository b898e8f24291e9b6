"""The Review page: one row at a time, with all that is known of it, and how far the review has come."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.claim import Assurance
from reft_studio.audit.draw import ThresholdSide
from reft_studio.audit.opinion import Opinion
from reft_studio.audit.policy import REMOVED, UNDECIDED, Outcome, effective, is_flagged, outcomes, overruled
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.index.query import rows_by_id
from reft_studio.data.index.rowstore import row_store
from reft_studio.errors import DataError
from reft_studio.scoring import SCORERS
from reft_studio.scoring.scores import NO_BIN, ScoreSet
from reft_studio.store.decided import SEEN, UNRECORDED, UNSEEN, Decided
from reft_studio.store.decisions import Decision, DecisionLog
from reft_studio.studio.assurance import unapproved
from reft_studio.studio.draws import Draws
from reft_studio.workspace import Workspace

KEPT = 8
"""Sets of scores whose counts are kept."""
_tables: dict[tuple[Path, int], tuple[str, NDArray[np.int64]]] = {}


@dataclass(frozen=True)
class Card:
    """A row as the reviewer sees it. `percentile` is the share of scored rows with a lower score, 0 to 100."""

    row_id: int
    prompt: str
    response: str
    messages: list[dict[str, Any]]
    origin: str
    category: str | None
    known_harmful: bool | None
    score: float | None
    threshold: float | None
    percentile: float | None
    effective: Outcome
    decision: Decision | None
    history: list[Decision]
    why: str
    opinions: list[Opinion] = field(default_factory=list)
    reason: str | None = None
    """Why it has no score."""
    cut: bool = False
    """Its prompt is longer than the model reads: the middle was left out when it was scored."""
    cut_at: int | None = None
    """Tokens that were read of it."""


@dataclass(frozen=True)
class ReviewProgress:
    """Counts over the whole dataset. `undecided` rows have neither a score nor a final decision, or are marked unsure.

    `flagged_open` are flagged rows that no person kept, removed or relabelled (or whose decision lacks the second name that is asked
    for): the threshold alone decides them. `overruled` rows are kept, removed or relabelled against it; an unsure one is neither.
    `conflicts` are rows on which two people differ. Of the `decided` rows, `read` had their text shown to the person who decided,
    `unseen` had not, and of `unrecorded` ones (earlier versions) nobody knows.
    """

    rows: int
    flagged: int
    flagged_open: int
    decided: int
    keep: int
    remove: int
    relabel: int
    unsure: int
    undecided: int
    removed_in_effect: int
    overruled: int
    assurance: Assurance | None
    conflicts: int = 0
    read: int = 0
    unseen: int = 0
    unrecorded: int = 0

    @property
    def kept_in_effect(self) -> int:
        """Rows that would stay."""
        return self.rows - self.removed_in_effect - self.undecided


def card(workspace: Workspace, log: DecisionLog, dataset_id: str, row_id: int, score: ScoreSet | None, threshold: float | None) -> Card:
    """Raises DataError if the dataset has no such row."""
    dataset = open_dataset(workspace, dataset_id)
    rows = rows_by_id(dataset, [row_id], messages=True)
    if not rows:
        raise DataError(f"'{dataset.name}' has no row {row_id}. Its rows are numbered from 0.")
    row = rows[0]
    value, percentile = _score_of(dataset, score, row_id)
    at = row_store(dataset).positions([row_id]).tolist() if score else []
    decision = log.current_of(dataset_id, [row_id]).get(row_id)
    return Card(
        row_id=row_id,
        prompt=row["prompt"],
        response=row["response"],
        messages=json.loads(row["messages"]) if isinstance(row.get("messages"), str) else row.get("messages") or [],
        origin=row["origin"],
        category=row["category"],
        known_harmful=row["known_harmful"],
        score=value,
        threshold=threshold,
        percentile=percentile,
        effective=effective(value, threshold if threshold is not None else 0.0, decision),
        decision=decision,
        history=log.history(dataset_id, row_id),
        why=_why(value, threshold, decision, _measure(score)),
        opinions=log.opinions_of(dataset_id, [row_id]).get(row_id, []),
        reason=score.reasons(at)[0] if score and value is None else None,
        cut=bool(score and score.cut(at)[0]),
        cut_at=score.info.get("cut_at") if score else None,
    )


def progress(log: DecisionLog, dataset: Dataset, score: ScoreSet | None, threshold: float | None) -> ReviewProgress:
    """How far the review has come, and what can be said of the rows below the threshold."""
    held = log.decided(dataset.id)
    counts = {str(action): count for action, count in held.counts().items()}
    shared: dict[str, Any] = {"rows": dataset.rows, "decided": len(held.row_ids), **counts, "conflicts": len(log.conflicts(dataset.id))}
    reading = np.bincount(held.seen, minlength=3)
    shared |= {"read": int(reading[SEEN]), "unseen": int(reading[UNSEEN]), "unrecorded": int(reading[UNRECORDED])}
    if score is None or threshold is None:
        finished = sum(counts[action] for action in ("keep", "remove", "relabel"))
        open_rows = {"flagged": 0, "flagged_open": 0, "undecided": dataset.rows - finished, "removed_in_effect": counts["remove"]}
        return ReviewProgress(**shared, **open_rows, overruled=0, assurance=None)
    effect = effect_of(dataset, score, threshold, held)
    return ReviewProgress(
        **shared,
        flagged=score.flagged_from(threshold),
        flagged_open=effect.flagged_open + len(unapproved(log.workspace, log, dataset.id, score, threshold)),
        undecided=effect.undecided,
        removed_in_effect=effect.removed,
        overruled=effect.overruled,
        assurance=Draws(log, score, threshold).standing().below,
    )


@dataclass(frozen=True)
class Effect:
    """Rows by what a threshold and the decisions do to them; `overruled` are decided otherwise than the threshold."""

    removed: int
    undecided: int
    flagged_open: int
    overruled: int


def effect_of(dataset: Dataset, score: ScoreSet, threshold: float, held: Decided) -> Effect:
    """Counted on the decided rows by code and bin alone, so that it takes no longer for a larger dataset."""
    decided = _by_code_and_bin(dataset, score, held)[1:]
    bins, codes = np.arange(NO_BIN + 1), np.arange(1, len(decided) + 1, dtype=np.uint8)[:, None]
    alone = np.broadcast_to(outcomes(bins, threshold, 0), decided.shape)
    found, flagged = outcomes(bins, threshold, codes), score.flagged_from(threshold)
    return Effect(
        removed=flagged - int(decided[alone == REMOVED].sum()) + int(decided[found == REMOVED].sum()),
        undecided=score.missing - int(decided[alone == UNDECIDED].sum()) + int(decided[found == UNDECIDED].sum()),
        flagged_open=flagged - int(decided[(alone == REMOVED) & (found != UNDECIDED)].sum()),
        overruled=int(decided[overruled(bins, threshold, codes)].sum()),
    )


def _by_code_and_bin(dataset: Dataset, score: ScoreSet, held: Decided) -> NDArray[np.int64]:
    """(5, NO_BIN + 1) decided rows by code and bin of their score; after a decision only the rows that it changed are looked at."""
    key = (score.folder, score.stamp())
    known = _tables.get(key)
    if known is not None and known[0] == held.hash:
        return known[1]
    if known is not None and known[0] == held.before:
        table, bins = known[1].copy(), score.bins()[row_store(dataset).positions(held.changed)]
        np.subtract.at(table, (held.changed_from, bins), 1)
        np.add.at(table, (held.code_of(held.changed), bins), 1)
    else:
        bins = score.bins()[row_store(dataset).positions(held.row_ids)]
        places = held.codes.astype(np.int64) * (NO_BIN + 1) + bins
        table = np.bincount(places, minlength=5 * (NO_BIN + 1)).reshape(5, NO_BIN + 1)
    while len(_tables) >= KEPT:
        _tables.pop(next(iter(_tables)), None)
    _tables[key] = (held.hash, table)
    return table


def _score_of(dataset: Dataset, score: ScoreSet | None, row_id: int) -> tuple[float | None, float | None]:
    if score is None:
        return None, None
    place = int(row_store(dataset).positions([row_id])[0])
    value = score.scores()[place]
    if np.isnan(value):
        return None, None
    lower = ThresholdSide("below", score.key, int(score.bins()[place])).rows(score)
    return float(value), 100 * lower / (score.rows - score.missing)


def _measure(score: ScoreSet | None) -> str:
    """What the score is called; one by a scorer of another version is just that."""
    return SCORERS.get(score.scorer).info.measure if score is not None and score.scorer in SCORERS else "score"


def _why(score: float | None, threshold: float | None, decision: Decision | None, measure: str) -> str:
    if decision and decision.action != "clear":
        told = f"{decision.action}, unseen" if decision.seen is False else decision.action
        return f"{decision.decided_by.removeprefix('human:')} decided: {told}" + (f" ({decision.reason})" if decision.reason else "")
    if score is None or threshold is None:
        return "No score: only a person can decide this row."
    side = "at or above" if is_flagged(score, threshold) else "below"
    return f"The {measure} is {score:+.3f}, {side} the threshold {threshold:+.3f}."
