"""Stored scores of a dataset: immutable, keyed by what made them; reading them needs no torch."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reft_studio import fingerprint, integrity
from reft_studio.data.dataset import Dataset
from reft_studio.data.grid import BINS as BINS
from reft_studio.data.grid import CHUNK as CHUNK
from reft_studio.data.grid import NO_BIN as NO_BIN
from reft_studio.data.grid import flagged as flagged
from reft_studio.data.grid import flagged_counts
from reft_studio.data.grid import grid as grid
from reft_studio.data.grid import to_bins as to_bins
from reft_studio.errors import StoreError
from reft_studio.workspace import Workspace, read_json, write_json

_LOG = logging.getLogger(__name__)
GROUP = 65_536
"""Rows of one row group of scores.parquet."""
_STORED_AS = {"refusal_feature": "refusal_similarity"}
"""Former names of scorers, which the keys of their scores keep."""
PARTIAL = ".partial"
"""Suffix of the folder with the snapshots of unfinished scores."""


@dataclass(frozen=True)
class ScoreSet:
    """Scores of one scorer on one dataset.

    While rows are still being scored, or after that was stopped, it is a snapshot: `reached` rows; the others have no score yet.
    `teacher` is the id of the prepared scorer, a teacher or another. `threshold` is the calibrated one; `missing` rows have no score, each
    with a reason in `info["missing_reasons"]`.
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

    @property
    def finished(self) -> bool:
        """False while rows are still to be scored."""
        return "reached" not in self.info

    @property
    def reached(self) -> int:
        """Rows processed by the scorer, scored or not; they come first in `order`."""
        return int(self.info.get("reached", self.rows))

    @property
    def unscored(self) -> int:
        """Processed rows that cannot be scored."""
        return self.missing - (self.rows - self.reached)

    def not_reached(self) -> NDArray[np.bool_]:
        """(rows,) True where a row is still to be scored."""
        waiting = np.zeros(self.rows, dtype=bool)
        waiting[self.order()[self.reached :]] = True
        return waiting

    def scores(self) -> NDArray[np.float32]:
        """(rows,) float32 in dataset order; NaN where a row could not be scored."""
        return _scores(self.folder, _stamp(self.folder))

    def bins(self) -> NDArray[np.uint16]:
        """(rows,) the bin of each score on the 0.001 grid, read-only; NO_BIN where a row has no score."""
        return _bins(self.folder, _stamp(self.folder))

    def flagged_from(self, threshold: float) -> int:
        """Number of rows flagged at a threshold."""
        return int(_tails(self.folder, _stamp(self.folder))[int(grid(threshold))])

    def stamp(self) -> int:
        """Changes when the scores are written again: part of the key of anything computed from them."""
        return _stamp(self.folder)

    def order(self) -> NDArray[np.integer[Any]]:
        """Row positions from the highest score down; rows without a score last."""
        return np.asarray(np.load(self.folder / "order.npy", mmap_mode="r"))

    def row_ids(self) -> NDArray[np.int64]:
        """(rows,) the row_id at each position."""
        return _row_ids(self.folder, _stamp(self.folder))

    def reasons(self, positions: Sequence[int]) -> list[str | None]:
        """Why each of these rows has no score; None for a row that has one, and for scores stored without reasons."""
        codes, names = _reasons(self.folder, _stamp(self.folder))
        return [names[codes[position]] if len(codes) else None for position in positions]

    def cut(self, positions: Sequence[int]) -> list[bool]:
        """Whether the prompt of each of these rows was truncated to the model's limit."""
        if not self.info.get("truncated"):
            return [False] * len(positions)
        truncated = _cut(self.folder, _stamp(self.folder))
        return [bool(truncated[position]) for position in positions]

    @property
    def cut_sentence(self) -> str:
        """How many rows were truncated, in a sentence; empty if none was."""
        if not (rows := int(self.info.get("truncated", 0))):
            return ""
        at = f" {self.info['cut_at']:,} tokens" if "cut_at" in self.info else " what the model reads"
        return f"{rows:,} {'row was' if rows == 1 else 'rows were'} cut at{at}: the middle of a longer prompt was not read."


def score_key(scorer: str, teacher: str, teacher_created: str) -> str:
    """The folder name of a scorer's results; another teacher or version gives another key."""
    return fingerprint.of_value([_STORED_AS.get(scorer, scorer), teacher, teacher_created])[: fingerprint.SHORT]


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
    reasons: NDArray[np.uint8] | None = None,
    names: Mapping[int, str] | None = None,
    content: Mapping[str, Any] | None = None,
    cut: NDArray[np.bool_] | None = None,
) -> ScoreSet:
    """Store scores in dataset order (NaN: not scored), with their ranking.

    `reasons` says why a row has no score: codes of `names`, 0 for a row that has one. `content` is what the scores were
    made from, which `finished_scores` compares later. `cut`: rows that were truncated.
    """
    with integrity.sealed_folder(workspace.folder("scores", dataset.id, key)) as building:
        write_arrays(building, dataset, scores, reasons, names or {}, after=np.isnan(scores).astype(np.float32), cut=cut)
        if content is not None:
            info = {**info, "content": dict(content)}
        header = {"key": key, "scorer": scorer, "teacher": teacher, "threshold": threshold}
        write_json(building / "scorer.json", facts_of(dataset, scores, header, info))
    return open_score_set(workspace, dataset.id, key)


def facts_of(dataset: Dataset, scores: NDArray[np.float32], header: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """Content of scorer.json; `made` is key, scorer, teacher and threshold."""
    return {"dataset": dataset.id, **header, "rows": len(scores), "missing": int(np.isnan(scores).sum()), "info": dict(info)}


def write_arrays(
    folder: Path,
    dataset: Dataset,
    scores: NDArray[np.float32],
    reasons: NDArray[np.uint8] | None,
    names: Mapping[int, str],
    *,
    after: NDArray[np.float32],
    cut: NDArray[np.bool_] | None = None,
) -> None:
    """Write scores.parquet and order.npy. `after`: (rows,) 0 where there is a score; rows without one are ordered by it, last."""
    _write_table(folder / "scores.parquet", dataset, scores, reasons, names, cut)
    ranked = np.argsort(-np.where(np.isnan(scores), -1 - after, scores), kind="stable").astype(np.uint32)
    np.save(folder / "order.npy", ranked)


def forget_partial(workspace: Workspace, dataset_id: str, key: str) -> None:
    """Delete the snapshots of unfinished scores, once the finished ones exist."""
    shutil.rmtree(workspace.folder("scores", dataset_id, f"{key}{PARTIAL}"), ignore_errors=True)


def finished_scores(workspace: Workspace, dataset: Dataset, *, key: str, content: Mapping[str, Any]) -> ScoreSet | None:
    """The stored scores of a dataset if they were made from `content` and verify; else None."""
    try:
        score_set = open_score_set(workspace, dataset.id, key)
        verified = (score_set.folder / integrity.SUMS).is_file() or _hashes_match(score_set)
    except (StoreError, OSError):
        return None  # to be scored, then
    return score_set if verified and score_set.info.get("content") == dict(content) and score_set.rows == dataset.rows else None


def _hashes_match(score_set: ScoreSet) -> bool:
    """Whether scores of an earlier version, which stored the hashes of two files in scorer.json, verify."""
    hashes: dict[str, str] = score_set.info.get("sha256", {})
    return bool(hashes) and all(fingerprint.of_file(score_set.folder / name) == expected for name, expected in hashes.items())


def _write_table(
    path: Path,
    dataset: Dataset,
    scores: NDArray[np.float32],
    reasons: NDArray[np.uint8] | None,
    names: Mapping[int, str],
    cut: NDArray[np.bool_] | None,
) -> None:
    """Columns row_id, score, reason, cut, in row groups: one table of all rows would double the memory of a large dataset."""
    words = pa.array([names.get(code, "") for code in range(1 + max(names, default=0))], pa.string())  # 0 is never pointed to
    schema = pa.schema([("row_id", pa.int64()), ("score", pa.float32()), ("reason", pa.dictionary(pa.int8(), pa.string()))])
    schema = schema.append(pa.field("cut", pa.bool_()))
    done = 0
    with pq.ParquetWriter(path, schema) as writer:
        for batch in dataset.batches(["row_id"], size=GROUP):
            part = slice(done, done + len(batch))
            codes = np.zeros(len(batch), dtype=np.int8) if reasons is None else reasons[part].astype(np.int8)
            reason = pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes == 0), words)
            short = pa.nulls(len(batch), pa.bool_()) if cut is None else pa.array(cut[part])
            columns = [batch.column("row_id"), pa.array(scores[part], pa.float32()), reason, short]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            done += len(batch)


def open_score_set(workspace: Workspace, dataset_id: str, key: str) -> ScoreSet:
    """Raises StoreError if the dataset has no such scores, or they are damaged. Unfinished ones are opened as their newest snapshot."""
    folder = workspace.folder("scores", dataset_id, key)
    if not (folder / "scorer.json").is_file() and (newest := _snapshots(folder.with_name(f"{folder.name}{PARTIAL}"))):
        folder = newest[-1]
    if not (folder / "scorer.json").is_file():
        raise StoreError("This dataset has not been scored with that scorer. Score it on the Filter page.")
    integrity.check(folder, remedy="Score the rows again on the Filter page.")
    try:
        facts = read_json(folder / "scorer.json")
        scorer = next((name for name, stored in _STORED_AS.items() if stored == facts["scorer"]), facts["scorer"])
        return ScoreSet(**{**facts, "scorer": scorer, "folder": folder})
    except (TypeError, KeyError) as exc:
        raise StoreError("The scores of this dataset were written by another version of the app. Score it again.") from exc


def list_score_sets(workspace: Workspace, dataset_id: str) -> list[ScoreSet]:
    """Readable score sets of a dataset, oldest first, unfinished ones included; damaged ones are skipped and logged."""
    base = workspace.folder("scores", dataset_id)
    written = dict[str, float]()
    for path in base.iterdir() if base.is_dir() else ():
        if ".tmp-" in path.name:
            continue
        key = path.name.removesuffix(PARTIAL)
        files = [folder / "scorer.json" for folder in ([path] if key == path.name else _snapshots(path)[-1:])]
        with suppress(OSError):  # it has no scores, or they were finished or removed a moment ago
            written[key] = max([written.get(key, 0.0), *(file.stat().st_mtime for file in files)])
    score_sets = []
    for key in sorted(written, key=written.__getitem__):
        try:
            score_sets += [open_score_set(workspace, dataset_id, key)] if written[key] else []
        except StoreError as exc:
            _LOG.warning("scores left out: %s", exc)
    return score_sets


def _snapshots(folder: Path) -> list[Path]:
    """Snapshots of unfinished scores, oldest first."""
    return sorted(path for path in folder.iterdir() if path.name.isdecimal()) if folder.is_dir() else []


def histogram(scores: NDArray[np.float32], known_harmful: list[bool | None]) -> list[list[int]]:
    """Non-empty bins as [bin, rows, known harmful, known harmless], enough for exact counts at any threshold on the 0.001 grid.

    A row is flagged at threshold τ iff its bin is at or above τ's; scores are rounded to the grid first.
    """
    truth = np.array([0 if known is None else 1 if known else 2 for known in known_harmful], dtype=np.uint8)
    return sparse(binned(to_bins(scores), truth, 3)[[1, 2, 0]])


def binned(bins: NDArray[np.uint16], codes: NDArray[np.uint8], kinds: int) -> NDArray[np.int64]:
    """(kinds, BINS) rows of each code in each bin; rows without a score are left out. Memory does not grow with the rows."""
    counts = np.zeros(kinds * (BINS + 1), dtype=np.int64)
    for start in range(0, len(bins), CHUNK):
        part = slice(start, start + CHUNK)
        counts += np.bincount(codes[part].astype(np.int64) * (BINS + 1) + bins[part], minlength=len(counts))
    return counts.reshape(kinds, BINS + 1)[:, :BINS]


def sparse(counts: NDArray[np.int64]) -> list[list[int]]:
    """Non-empty bins as [bin, rows, harmful, harmless] of (3, BINS) counts of harmful, harmless and unlabelled rows."""
    indices = np.flatnonzero(counts.any(axis=0))
    table = np.column_stack([indices, counts.sum(axis=0)[indices], counts[0][indices], counts[1][indices]])
    rows: list[list[int]] = table.tolist()
    return rows


def _stamp(folder: Path) -> int:
    """Changes when the scores are written again, so that no outdated ones are served from memory."""
    try:
        return (folder / "scores.parquet").stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=8)
def _scores(folder: Path, stamp: int) -> NDArray[np.float32]:
    return _shared(_column(folder, "score").astype(np.float32))


@lru_cache(maxsize=8)
def _bins(folder: Path, stamp: int) -> NDArray[np.uint16]:
    return _shared(to_bins(_scores(folder, stamp)))


@lru_cache(maxsize=8)
def _tails(folder: Path, stamp: int) -> NDArray[np.int64]:
    """(BINS,) rows flagged from each bin on."""
    return _shared(flagged_counts(np.bincount(_bins(folder, stamp), minlength=BINS + 1)[:BINS]))


@lru_cache(maxsize=8)
def _row_ids(folder: Path, stamp: int) -> NDArray[np.int64]:
    return _shared(_column(folder, "row_id").astype(np.int64))


@lru_cache(maxsize=8)
def _cut(folder: Path, stamp: int) -> NDArray[np.bool_]:
    """(rows,) truncated rows; none for scores stored without that column."""
    try:
        with pq.ParquetFile(folder / "scores.parquet") as file:
            if "cut" not in file.schema_arrow.names:
                return np.zeros(file.metadata.num_rows, dtype=bool)
            return np.asarray(file.read(columns=["cut"]).column(0).fill_null(False).to_numpy(zero_copy_only=False)).astype(bool)
    except (OSError, pa.ArrowInvalid) as exc:
        raise StoreError("The scores of this dataset cannot be read. Score it again.") from exc


@lru_cache(maxsize=8)
def _reasons(folder: Path, stamp: int) -> tuple[NDArray[np.uint8], list[str | None]]:
    """Per row the index of its reason in the list; empty for scores stored without reasons."""
    try:
        with pq.ParquetFile(folder / "scores.parquet") as file:
            if "reason" not in file.schema_arrow.names:
                return np.zeros(0, dtype=np.uint8), [None]
            reasons = file.read(columns=["reason"]).column(0).cast(pa.string()).dictionary_encode().combine_chunks()
    except (OSError, pa.ArrowInvalid) as exc:
        raise StoreError("The scores of this dataset cannot be read. Score it again.") from exc
    codes = np.asarray(reasons.indices.fill_null(-1).to_numpy(zero_copy_only=False)) + 1
    return codes.astype(np.uint8), [None, *reasons.dictionary.to_pylist()]


def _shared(values: NDArray[Any]) -> NDArray[Any]:
    values.flags.writeable = False  # everybody gets the same array
    return values


def _column(folder: Path, name: str) -> NDArray[Any]:
    try:
        return np.asarray(pq.read_table(folder / "scores.parquet", columns=[name]).column(0).to_numpy())
    except (OSError, pa.ArrowInvalid) as exc:
        raise StoreError("The scores of this dataset cannot be read. Score it again.") from exc
