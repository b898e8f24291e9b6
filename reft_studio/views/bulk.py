"""Many rows at once: which rows a filter of the Review page selects, and which rows still wait for a decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.queue import among
from reft_studio.data.dataset import Dataset
from reft_studio.data.query import matching_ids
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import ScoreSet, flagged
from reft_studio.store.decisions import Decision

SIDES = ("flagged", "kept", "unscored", "all")


@dataclass(frozen=True)
class Selection:
    """Rows of a filter: `row_ids` would be decided; `decided` more match, but a person has decided them already."""

    row_ids: list[int]
    matched: int
    decided: int


def select(
    dataset: Dataset,
    score: ScoreSet | None,
    threshold: float | None,
    decisions: dict[int, Decision],
    *,
    side: str = "all",
    search: str = "",
    origin: str | None = None,
    overrule: bool = False,
) -> Selection:
    """Rows on one side of the threshold whose text holds `search` and whose origin is `origin`, in dataset order.

    Rows that a person decided are left alone unless `overrule`. Raises SpecError for an unknown side, or one that needs scores.
    """
    ids = dataset.table(["row_id"]).column(0).to_numpy()
    wanted = _on_side(len(ids), score, threshold, side)
    if search or origin is not None:
        wanted &= among(ids, matching_ids(dataset, search, origin).tolist())
    taken = wanted & among(ids, decisions)
    chosen = wanted if overrule else wanted & ~taken
    return Selection(ids[chosen].tolist(), int(wanted.sum()), int(taken.sum()))


def undecided(dataset: Dataset, score: ScoreSet | None, decisions: dict[int, Decision]) -> list[int]:
    """Rows that stop a freeze: without a score and a decision, or marked unsure."""
    unsure = {row_id for row_id, decision in decisions.items() if decision.action == "unsure"}
    final = decisions.keys() - unsure
    ids = dataset.table(["row_id"]).column(0).to_numpy()
    open_rows = _unscored(len(ids), score) & ~among(ids, final) | among(ids, unsure)
    return [int(row_id) for row_id in ids[open_rows]]


def _on_side(rows: int, score: ScoreSet | None, threshold: float | None, side: str) -> NDArray[np.bool_]:
    if side not in SIDES:
        raise SpecError(f"'{side}' is no part of a dataset. Choose one of: {', '.join(SIDES)}.")
    if side == "all":
        return np.ones(rows, dtype=bool)
    unscored = _unscored(rows, score)
    if side == "unscored":
        return unscored
    if score is None or threshold is None:
        raise SpecError("There are no scores, so no row is flagged or kept yet. Score the dataset first, or choose all rows.")
    dropped = flagged(score.scores(), threshold)
    return dropped if side == "flagged" else ~dropped & ~unscored


def _unscored(rows: int, score: ScoreSet | None) -> NDArray[np.bool_]:
    return np.ones(rows, dtype=bool) if score is None else np.isnan(score.scores())
