"""Rows that could not be used are set aside with their line, the reason and the original text, never dropped in silence."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

RAW_LIMIT = 500
"""Characters of the original that are kept beside a problem."""
MOST_REASONS = 200
BATCH = 1024
SCHEMA = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("hint", pa.string()), ("raw", pa.string())])


@dataclass(frozen=True)
class Problem:
    """What is wrong with one row. `error` rows go to quarantine, `warning` rows are imported."""

    line: int
    """Line of the file for JSONL and CSV, number of the row for JSON and Parquet; both counted from 1. 0 is the whole file."""
    severity: Literal["error", "warning"]
    reason: str
    """Never holds text of the dataset."""
    hint: str = ""
    raw: str = ""
    """The original, cut to `RAW_LIMIT` characters; for the quarantine file only."""


@dataclass
class Quarantine:
    """Writes problems to `path` as they come, a bounded number at a time, and counts them by reason."""

    path: Path
    errors: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[int]] = field(default_factory=dict)
    """The first five lines of each reason."""
    _pending: list[dict[str, Any]] = field(default_factory=list)
    _writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Quarantine:
        self._writer = pq.ParquetWriter(self.path, SCHEMA, compression="zstd")
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def add(self, problem: Problem) -> None:
        """Count a problem; keep it if it is an error."""
        counter = self.errors if problem.severity == "error" else self.warnings
        # a reason may name a speaker, and a file may have as many of them as rows
        reason = problem.reason if problem.reason in counter or len(counter) < MOST_REASONS else "other reasons, each named with its row"
        counter[reason] += 1
        lines = self.examples.setdefault(reason, [])
        if len(lines) < 5:
            lines.append(problem.line)
        if problem.severity == "error":
            raw = problem.raw[:RAW_LIMIT].encode("utf-8", "replace").decode("utf-8")
            self._pending.append({"line": problem.line, "reason": problem.reason, "hint": problem.hint, "raw": raw})
            if len(self._pending) >= BATCH:
                self._flush()

    def close(self) -> None:
        """Write the rest. May be called twice."""
        if self._writer is not None:
            self._flush()
            self._writer.close()
            self._writer = None

    def _flush(self) -> None:
        if self._writer is not None and self._pending:
            self._writer.write_table(pa.Table.from_pylist(self._pending, schema=SCHEMA))
        self._pending.clear()


def read_quarantine(folder: Path, *, limit: int | None = None) -> list[dict[str, Any]]:
    """Rows set aside when the dataset in `folder` was imported: line, reason, hint, raw; [] if there was none."""
    path = folder / "quarantine.parquet"
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = []
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH):
            rows.extend(batch.to_pylist())
            if limit is not None and len(rows) >= limit:
                return rows[:limit]
    return rows


def write_quarantine(folder: Path, target: Path) -> Path:
    """All rows set aside when the dataset in `folder` was imported, as JSON Lines; an empty file if there was none."""
    path = folder / "quarantine.parquet"
    with target.open("w", encoding="utf-8") as out:
        if path.is_file():
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=BATCH):
                    out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())
    return target
