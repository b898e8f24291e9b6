"""Scoring that survives a kill: each shard is planned, journalled and finished in a folder of its own work."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from reft_studio.errors import PrerequisiteError
from reft_studio.lab.sets import unfamiliar_share
from reft_studio.models.batching import Encoder
from reft_studio.models.prompts import CUT, NO_TOKENS, PromptEncoder, TokenLists
from reft_studio.models.prompts import REFUSED as TEMPLATE_REFUSED
from reft_studio.scoring.cache import ScoreCache, digests_of
from reft_studio.scoring.engine import Engine
from reft_studio.scoring.journal import Journal
from reft_studio.scoring.plan import Plan
from reft_studio.scoring.shards import NO_TOKENS as LEFT_EMPTY
from reft_studio.scoring.shards import NOT_FINITE, REFUSED, Shard, row_scores
from reft_studio.workspace import Workspace, write_atomic

FAMILIAR_SAMPLE = 2000
"""Prompts whose words are looked up in the lab's language."""
COUNTS = ("distinct_prompts", "computed_prompts", "cached_prompts", "truncated")


@dataclass
class Scored:
    """Rows scored so far: scores and reasons fill up from the front; `rows` tells how far."""

    scores: NDArray[np.float32]
    reasons: NDArray[np.uint8]
    rows: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    unfamiliar: float = 0.0

    @classmethod
    def empty(cls, rows: int) -> Scored:
        return cls(np.full(rows, np.nan, dtype=np.float32), np.zeros(rows, dtype=np.uint8))

    def take(self, shard: Scored) -> None:
        """Add the rows of the next shard."""
        if self.rows == 0:
            self.unfamiliar = shard.unfamiliar
        self.scores[self.rows : self.rows + shard.rows] = shard.scores
        self.reasons[self.rows : self.rows + shard.rows] = shard.reasons
        self.rows += shard.rows
        for name, count in shard.counts.items():
            self.counts[name] += count


@contextmanager
def work_folder(workspace: Workspace, name: str) -> Iterator[Path]:
    """The folder of unfinished work `name`; removed at the end, kept if the block is left by an error or a kill.

    Raises PrerequisiteError if another process is at the same work.
    """
    folder = workspace.folder("cache", "scoring", name)
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise PrerequisiteError(
                "This dataset is being scored with this teacher already. Wait for that job, or cancel it first."
            ) from exc
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


class ShardWork:
    """Scores shard after shard. What is finished lies in `folder` as NUMBER.npz; the open one as plan.npz and journal."""

    def __init__(self, folder: Path, engine: Engine, encoder: Encoder, cache: ScoreCache, key: str) -> None:
        self.folder, self.engine, self.cache, self.key = folder, engine, cache, key
        self.encoder = PromptEncoder(encoder)

    def scored(self, shard: Shard, progress: Callable[[float], None]) -> Scored:
        """The rows of a shard: read if it is finished, else computed or gone on with. `progress` gets shares in 0..1."""
        final = self.folder / f"{shard.index:05}.npz"
        if (done := _read(final)) is not None and done.rows == shard.rows:
            return done
        found = self._computed(shard, progress)
        _save(final, found)
        for name in ("plan.npz", "splits.json", "journal"):
            (self.folder / name).unlink(missing_ok=True)
        return found

    def _computed(self, shard: Shard, progress: Callable[[float], None]) -> Scored:
        unfamiliar = unfamiliar_share(shard.texts[:FAMILIAR_SAMPLE]) if shard.index == 0 else 0.0
        lists, fates = self.encoder.encode(shard.texts)
        shard.texts.clear()  # half of a shard's memory, and not needed any more
        digests = digests_of(lists, self.key)
        distinct, firsts, units = np.unique(digests, return_index=True, return_inverse=True)
        prompts = lists.pick(firsts)
        plan = self._planned(prompts, distinct)
        values = self._run(plan, prompts, progress)
        self.cache.add(plan.fingerprint[:16], distinct[plan.order], values[plan.order])
        of_text = values[units.reshape(-1)]
        why = np.where(np.isnan(of_text), NOT_FINITE, 0).astype(np.uint8)
        why[fates == TEMPLATE_REFUSED] = REFUSED
        why[fates == NO_TOKENS] = LEFT_EMPTY
        scores, reasons = row_scores(shard, of_text, why)
        counts = {
            "distinct_prompts": len(prompts),
            "computed_prompts": len(plan.order),
            "cached_prompts": int((~np.isnan(plan.known)).sum()),
            "truncated": _rows_with(shard, fates == CUT),
        }
        return Scored(scores, reasons, shard.rows, counts, unfamiliar)

    def _planned(self, prompts: TokenLists, digests: NDArray[np.void]) -> Plan:
        """The frozen plan: the one on disk if it is of these prompts, else a new one, stored before it is used."""
        if (kept := Plan.load(self.folder)) is not None and kept.is_of(digests, prompts.lengths, budget=self.engine.budget):
            return kept
        (self.folder / "journal").unlink(missing_ok=True)
        plan = self.engine.plan(prompts, digests, self.cache.lookup(digests))
        plan.save(self.folder)
        return plan

    def _run(self, plan: Plan, prompts: TokenLists, progress: Callable[[float], None]) -> NDArray[np.float32]:
        if not len(plan.order):
            return plan.known
        with Journal(self.folder / "journal") as journal:
            return self.engine.run(plan, prompts, journal, on_split=lambda grown: grown.save_splits(self.folder), progress=progress)


def _rows_with(shard: Shard, marked: NDArray[np.bool_]) -> int:
    """Rows of which at least one turn is marked."""
    row_of_turn = np.repeat(np.arange(shard.rows), np.diff(np.array([0, *shard.ends])))
    return len(np.unique(row_of_turn[marked[np.array(shard.turns, dtype=np.int64)]])) if shard.turns else 0


def _save(path: Path, found: Scored) -> None:
    buffer = io.BytesIO()
    counts = np.array([found.counts[name] for name in COUNTS], dtype=np.int64)
    np.savez(buffer, scores=found.scores, reasons=found.reasons, counts=counts, unfamiliar=np.array(found.unfamiliar))
    write_atomic(path, buffer.getvalue())


def _read(path: Path) -> Scored | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as parts:
            counts = dict(zip(COUNTS, parts["counts"].tolist(), strict=True))
            return Scored(parts["scores"], parts["reasons"], len(parts["scores"]), counts, float(parts["unfamiliar"]))
    except (OSError, EOFError, BadZipFile, ValueError, KeyError):
        return None  # a damaged one is computed again
