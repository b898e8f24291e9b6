"""The Review page: one row at a time, with all that is known of it, and how far the review has come."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from reft_studio.audit.assurance import Assurance, residual_risk
from reft_studio.audit.policy import Outcome, effective
from reft_studio.audit.policy import flagged as is_flagged
from reft_studio.audit.queue import QueueItem, review_order
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.query import rows_by_id
from reft_studio.errors import DataError
from reft_studio.scoring.scores import ScoreSet, flagged
from reft_studio.store.decisions import Decision, DecisionLog
from reft_studio.workspace import Workspace

SEED = 0
"""Seeds the random part of the review order, so that the sample below the threshold stays the same."""


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


@dataclass(frozen=True)
class ReviewProgress:
    """Counts over the whole dataset. `undecided` rows have neither a score nor a final decision, or are marked unsure.

    `flagged_open` are flagged rows that no person kept, removed or relabelled: the threshold alone decides them.
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


def batch(log: DecisionLog, dataset: Dataset, score: ScoreSet | None, threshold: float | None, *, size: int, seed: int) -> list[QueueItem]:
    """The next rows to read; a dataset without scores is read in a random order."""
    decided = set(log.current(dataset.id))
    if score is None or threshold is None:
        ids = dataset.table(["row_id"]).column(0).to_numpy()
        return review_order(np.full(dataset.rows, np.nan), 0.0, decided, seed=seed, size=size, row_ids=ids)
    return review_order(score.scores(), threshold, decided, seed=seed, size=size, row_ids=score.row_ids())


def card(workspace: Workspace, log: DecisionLog, dataset_id: str, row_id: int, score: ScoreSet | None, threshold: float | None) -> Card:
    """Raises DataError if the dataset has no such row."""
    dataset = open_dataset(workspace, dataset_id)
    rows = rows_by_id(dataset, [row_id], messages=True)
    if not rows:
        raise DataError(f"'{dataset.name}' has no row {row_id}. Its rows are numbered from 0.")
    row = rows[0]
    value, percentile = _score_of(score, row_id)
    decision = log.current(dataset_id).get(row_id)
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
        why=_why(value, threshold, decision),
    )


def progress(log: DecisionLog, dataset: Dataset, score: ScoreSet | None, threshold: float | None) -> ReviewProgress:
    """How far the review has come, and what can be said of the rows below the threshold."""
    current = log.current(dataset.id)
    counts = {action: sum(decision.action == action for decision in current.values()) for action in ("keep", "remove", "relabel", "unsure")}
    if score is None or threshold is None:
        finished = sum(counts[action] for action in ("keep", "remove", "relabel"))
        return ReviewProgress(
            rows=dataset.rows,
            flagged=0,
            flagged_open=0,
            decided=len(current),
            **counts,
            undecided=dataset.rows - finished,
            removed_in_effect=counts["remove"],
            overruled=0,
            assurance=None,
        )
    values, ids = score.scores(), score.row_ids()
    dropped = flagged(values, threshold)
    position = {int(row_id): place for place, row_id in enumerate(ids)} if current else {}
    removed, undecided, overruled, closed = int(dropped.sum()), int(np.isnan(values).sum()), 0, 0
    for row_id, decision in current.items():
        place = position[row_id]
        before, after = _outcome(values[place], threshold, None), _outcome(values[place], threshold, decision)
        removed += (after == "remove") - (before == "remove")
        undecided += (after == "undecided") - (before == "undecided")
        overruled += after != before and before != "undecided"
        closed += bool(dropped[place]) and decision.action != "unsure"
    return ReviewProgress(
        rows=dataset.rows,
        flagged=int(dropped.sum()),
        flagged_open=int(dropped.sum()) - closed,
        decided=len(current),
        **counts,
        undecided=undecided,
        removed_in_effect=removed,
        overruled=overruled,
        assurance=residual_risk(values, threshold, current, seed=SEED, row_ids=ids),
    )


def _outcome(value: float, threshold: float, decision: Decision | None) -> Outcome:
    return effective(None if np.isnan(value) else float(value), threshold, decision)


def _score_of(score: ScoreSet | None, row_id: int) -> tuple[float | None, float | None]:
    if score is None:
        return None, None
    places = np.flatnonzero(score.row_ids() == row_id)
    values = score.scores()
    if not len(places) or np.isnan(values[places[0]]):
        return None, None
    valid = values[~np.isnan(values)]
    return float(values[places[0]]), float(100 * (valid < values[places[0]]).mean())


def _why(score: float | None, threshold: float | None, decision: Decision | None) -> str:
    if decision and decision.action != "clear":
        return f"{decision.decided_by.removeprefix('human:')} decided: {decision.action}" + (
            f" ({decision.reason})" if decision.reason else ""
        )
    if score is None or threshold is None:
        return "No score: only a person can decide this row."
    side = "at or above" if is_flagged(score, threshold) else "below"
    return f"The prompt's cosine to the refusal feature is {score:+.3f}, {side} the threshold {threshold:+.3f}."
