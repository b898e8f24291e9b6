"""Scores of a dataset as files: immutable, keyed by what made them; reading them needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reft_studio import fingerprint
from reft_studio.data.dataset import Dataset
from reft_studio.errors import StoreError
from reft_studio.workspace import Workspace, new_folder, read_json, write_json

BINS = 2001
"""Histogram bins of width 0.001 over [-1, 1]; bin b holds cosines nearest to -1 + b / 1000."""


@dataclass(frozen=True)
class ScoreSet:
    """Scores of one scorer on one dataset.

    `threshold` is the calibrated one; `missing` rows have no score, each with a reason in `info["missing_reasons"]`.
    """

    dataset: str
    key: str
    folder: Path
    scorer: str
    teacher: str
    threshold: float
    rows: int
    missing: int
    info: dict[str, Any] = field(repr=False, compare=False)

    def scores(self) -> NDArray[np.float32]:
        """(rows,) float32 in dataset order; NaN where a row could not be scored."""
        return _scores(self.folder)

    def order(self) -> NDArray[np.int64]:
        """Row positions from the highest score down; rows without a score last."""
        return np.asarray(np.load(self.folder / "order.npy", mmap_mode="r"))

    def row_ids(self) -> NDArray[np.int64]:
        """(rows,) the row_id at each position."""
        return _row_ids(self.folder)


def score_key(scorer: str, teacher: str, teacher_created: str) -> str:
    """The folder name of a scorer's answers; another teacher or version gives another key."""
    return fingerprint.of_value([scorer, teacher, teacher_created])[: fingerprint.SHORT]


def write_scores(
    workspace: Workspace,
    dataset: Dataset,
    scores: NDArray[np.float32],
    *,
    key: str,
    scorer: str,
    teacher: str,
    threshold: float,
    info: dict[str, Any],
) -> ScoreSet:
    """Store scores in dataset order (NaN: not scored), with the order that ranks them."""
    folder = workspace.folder("scores", dataset.id, key)
    row_ids = dataset.table(["row_id"]).column("row_id")
    with new_folder(folder) as building:
        pq.write_table(pa.table({"row_id": row_ids, "score": pa.array(scores, pa.float32())}), building / "scores.parquet")
        np.save(building / "order.npy", np.argsort(-np.where(np.isnan(scores), -np.inf, scores), kind="stable"))
        facts = {
            "dataset": dataset.id,
            "key": key,
            "scorer": scorer,
            "teacher": teacher,
            "threshold": threshold,
            "rows": len(scores),
            "missing": int(np.isnan(scores).sum()),
            "info": info,
        }
        write_json(building / "scorer.json", facts)
    return open_score_set(workspace, dataset.id, key)


def open_score_set(workspace: Workspace, dataset_id: str, key: str) -> ScoreSet:
    """Raises StoreError if the dataset has no such scores."""
    folder = workspace.folder("scores", dataset_id, key)
    if not (folder / "scorer.json").is_file():
        raise StoreError("This dataset has not been scored with that teacher. Score it on the Filter page.")
    try:
        return ScoreSet(**{**read_json(folder / "scorer.json"), "folder": folder})
    except TypeError as exc:
        raise StoreError("The scores of this dataset were written by another version of the app. Score it again.") from exc


def list_score_sets(workspace: Workspace, dataset_id: str) -> list[ScoreSet]:
    """Score sets of a dataset, oldest first."""
    base = workspace.folder("scores", dataset_id)
    folders = sorted((path for path in base.glob("*/scorer.json")), key=lambda path: path.stat().st_mtime) if base.is_dir() else []
    return [open_score_set(workspace, dataset_id, path.parent.name) for path in folders if ".tmp-" not in path.parent.name]


def histogram(scores: NDArray[np.float32], known_harmful: list[bool | None]) -> list[list[int]]:
    """Non-empty bins as [bin, rows, known harmful, known harmless], enough for exact counts at any threshold on the 0.001 grid.

    A row counts as flagged at threshold τ iff its bin is at or above τ's; scores are rounded to the grid first.
    """
    valid = ~np.isnan(scores)
    bins = grid(scores[valid])
    truth = np.array([0 if known is None else 1 if known else 2 for known in known_harmful], dtype=np.int8)[valid]
    counts = [np.bincount(bins[truth == kind] if kind else bins, minlength=BINS) for kind in (0, 1, 2)]
    return [[int(b), *(int(count[b]) for count in counts)] for b in np.flatnonzero(counts[0])]


def grid(values: NDArray[np.float32] | float) -> NDArray[np.int64]:
    """Cosines -> bins of the 0.001 grid. Thresholds and scores are compared on this grid, everywhere; NaN has no bin."""
    return np.rint((np.clip(np.asarray(values, dtype=np.float64), -1, 1) + 1) * 1000).astype(np.int64)


def flagged(scores: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """(rows,) True where a score is at or above the threshold, on the grid; rows without a score are not flagged here."""
    valid = ~np.isnan(scores)
    result = np.zeros(len(scores), dtype=bool)
    result[valid] = grid(scores[valid]) >= int(grid(threshold))
    return result


@lru_cache(maxsize=8)
def _scores(folder: Path) -> NDArray[np.float32]:
    return _shared(_column(folder, "score").astype(np.float32))


@lru_cache(maxsize=8)
def _row_ids(folder: Path) -> NDArray[np.int64]:
    return _shared(_column(folder, "row_id").astype(np.int64))


def _shared(values: NDArray[Any]) -> NDArray[Any]:
    values.flags.writeable = False  # everybody gets the same array
    return values


def _column(folder: Path, name: str) -> NDArray[Any]:
    try:
        return np.asarray(pq.read_table(folder / "scores.parquet", columns=[name]).column(0).to_numpy())
    except (OSError, pa.ArrowInvalid) as exc:
        raise StoreError("The scores of this dataset cannot be read. Score it again.") from exc
