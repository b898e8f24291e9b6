"""Unfinished scoring on disk: one folder per piece of work with its finished shards."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from reft_studio.errors import PrerequisiteError
from reft_studio.scoring.shards import NOT_REACHED
from reft_studio.workspace import Workspace, write_atomic

COUNTS = ("distinct_prompts", "computed_prompts", "cached_prompts", "truncated")


@dataclass
class Scored:
    """Scores so far: scores and reasons fill up from the front, `rows` of them. Rows beyond are NOT_REACHED."""

    scores: NDArray[np.float32]
    reasons: NDArray[np.uint8]
    rows: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    unfamiliar: float = 0.0
    cut: NDArray[np.bool_] | None = None
    """Rows with a truncated turn; None: the scorer truncates nothing."""

    @classmethod
    def empty(cls, rows: int) -> Scored:
        nothing = np.full(rows, np.nan, dtype=np.float32), np.full(rows, NOT_REACHED, dtype=np.uint8)
        return cls(*nothing, cut=np.zeros(rows, dtype=bool))

    def put(self, start: int, scores: NDArray[np.float32], reasons: NDArray[np.uint8]) -> None:
        """Write rows from position `start` on; they may be overwritten later."""
        self.scores[start : start + len(scores)] = scores
        self.reasons[start : start + len(scores)] = reasons

    def take(self, shard: Scored) -> None:
        """Append the rows of the next shard."""
        if self.rows == 0:
            self.unfamiliar = shard.unfamiliar
        self.put(self.rows, shard.scores, shard.reasons)
        if self.cut is not None and shard.cut is not None:
            self.cut[self.rows : self.rows + shard.rows] = shard.cut
        self.rows += shard.rows
        for name, count in shard.counts.items():
            self.counts[name] += count


@contextmanager
def work_folder(workspace: Workspace, name: str) -> Iterator[Path]:
    """The folder of unfinished work `name`; deleted at the end, kept if the block is left by an error or a kill.

    Raises PrerequisiteError if another process is doing the same work.
    """
    folder = workspace.folder("cache", "scoring", name)
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise PrerequisiteError(
                "This dataset is being scored with this scorer already. Wait for that job, or cancel it first."
            ) from exc
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def save_shard(path: Path, scored: Scored) -> None:
    """Store a finished shard atomically."""
    buffer = io.BytesIO()
    counts = np.array([scored.counts[name] for name in COUNTS], dtype=np.int64)
    cut = np.zeros(len(scored.scores), dtype=bool) if scored.cut is None else scored.cut
    np.savez(buffer, scores=scored.scores, reasons=scored.reasons, counts=counts, unfamiliar=np.array(scored.unfamiliar), cut=cut)
    write_atomic(path, buffer.getvalue())


def load_shard(path: Path) -> Scored | None:
    """A finished shard; None if there is no complete one."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as parts:
            counts = dict(zip(COUNTS, parts["counts"].tolist(), strict=True))
            return Scored(parts["scores"], parts["reasons"], len(parts["scores"]), counts, float(parts["unfamiliar"]), parts["cut"])
    except (OSError, EOFError, BadZipFile, ValueError, KeyError):
        return None  # a damaged one is computed again
