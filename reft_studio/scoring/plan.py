"""The frozen plan of one shard: which prompts run in which batch, decided before any work and stored on disk.

The last digits of scores depend on their batch, so a resumed run must form the very same batches to give the same bits.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from reft_studio.errors import StoreError
from reft_studio.workspace import read_json, write_atomic, write_json

MAX_ROWS = 512
"""Maximum prompts per batch."""
STRETCH = 32
"""Size, in batches, of one stretch of a plan with priorities; within a stretch the longest run first. Little padding is needed, and the
first stretch of 1,000 prompts per second is over in seconds."""


@dataclass(frozen=True)
class BatchPlan:
    """Batches over the distinct prompts of a shard.

    known: (n,) float32, cached scores, NaN where one has to be computed. order: positions to compute, batch after batch, longest first,
    so that a lack of memory shows at once. sizes: prompts per batch. prefix: tokens shared by all computed prompts, 0 for none. splits:
    batches that were halved for want of memory, in order.
    """

    fingerprint: str
    known: NDArray[np.float32]
    order: NDArray[np.int32]
    sizes: NDArray[np.int32]
    prefix: int
    splits: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        digests: NDArray[np.void],
        lengths: NDArray[np.int64],
        known: NDArray[np.float32],
        *,
        budget: int,
        prefix: int,
        first: NDArray[np.float32] | None = None,
    ) -> BatchPlan:
        """A plan as a function of the prompts (their digests and lengths), the cached scores, the token budget and `first`.

        lengths: (n,) tokens of each prompt, 0 where there is nothing to compute. `budget` limits the padded tokens of a
        batch after the prefix; a single prompt may exceed it. `first`: (n,) prompts with high values run before those with low
        ones, stretch by stretch; without it there is one stretch.
        """
        todo = np.flatnonzero(np.isnan(known) & (lengths > 0))
        stretch = _stretches(lengths, todo, prefix, budget, first)
        order = todo[np.lexsort((todo, -lengths[todo], stretch))].astype(np.int32)
        own = np.maximum(lengths[order] - prefix, 1)
        ends = np.cumsum(np.bincount(stretch)) if len(stretch) else np.zeros(0, dtype=np.int64)
        sizes: list[int] = []
        done = 0
        while done < len(order):
            remaining = int(ends[np.searchsorted(ends, done, side="right")]) - done
            sizes.append(int(min(max(budget // int(own[done]), 1), MAX_ROWS, remaining)))
            done += sizes[-1]
        return cls(_fingerprint(digests, lengths, budget), known, order, np.array(sizes, dtype=np.int32), prefix)

    def is_of(self, digests: NDArray[np.void], lengths: NDArray[np.int64], *, budget: int) -> bool:
        """Whether this is the plan of these prompts under this budget."""
        return self.fingerprint == _fingerprint(digests, lengths, budget)

    def batches(self) -> list[NDArray[np.int32]]:
        """Positions of each batch, splits applied."""
        batches = np.split(self.order, np.cumsum(self.sizes)[:-1]) if len(self.sizes) else []
        for index in self.splits:
            half = (len(batches[index]) + 1) // 2
            batches[index : index + 1] = [batches[index][:half], batches[index][half:]]
        return batches

    def split(self, batch: int) -> BatchPlan:
        """The plan with this batch halved; earlier batches are unchanged."""
        return replace(self, splits=(*self.splits, batch))

    def save(self, folder: Path) -> None:
        """Write it atomically, before its first batch runs; an older plan is deleted first, so that their batches are not mixed up."""
        (folder / "plan.npz").unlink(missing_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, known=self.known, order=self.order, sizes=self.sizes, prefix=np.array(self.prefix))
        write_json(folder / "splits.json", {"plan": self.fingerprint, "splits": self.splits})
        write_atomic(folder / "plan.npz", buffer.getvalue())

    def save_splits(self, folder: Path) -> None:
        """Append the splits to the plan on disk."""
        write_json(folder / "splits.json", {"plan": self.fingerprint, "splits": self.splits})

    @classmethod
    def load(cls, folder: Path) -> BatchPlan | None:
        """The plan in `folder`, or None if there is no complete one."""
        if not (folder / "plan.npz").is_file():
            return None
        try:
            marks = read_json(folder / "splits.json")
            with (folder / "plan.npz").open("rb") as file, np.load(file, allow_pickle=False) as parts:
                known, order, sizes, prefix = (parts[name] for name in ("known", "order", "sizes", "prefix"))
            return cls(marks["plan"], known, order, sizes, int(prefix), tuple(marks["splits"]))
        except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError, StoreError):
            return None  # a damaged plan is made anew, and its journal with it


def _stretches(
    lengths: NDArray[np.int64], todo: NDArray[np.intp], prefix: int, budget: int, first: NDArray[np.float32] | None
) -> NDArray[np.int64]:
    """(len(todo),) the stretch of each prompt, from 0, none of them empty."""
    stretch = np.zeros(len(todo), dtype=np.int64)
    if first is None or not len(todo):
        return stretch
    ranked = np.argsort(-first[todo], kind="stable")
    tokens = np.cumsum(np.maximum(lengths[todo][ranked] - prefix, 1))
    stretch[ranked] = np.unique((tokens - 1) // (STRETCH * budget), return_inverse=True)[1]
    return stretch


def _fingerprint(digests: NDArray[np.void], lengths: NDArray[np.int64], budget: int) -> str:
    facts = np.array([budget, MAX_ROWS], dtype=np.int64)
    return hashlib.sha256(digests.tobytes() + lengths.astype("<i8").tobytes() + facts.tobytes()).hexdigest()


def token_shares(batches: list[NDArray[np.int32]], lengths: NDArray[np.int64]) -> list[float]:
    """After each batch, the share of tokens done, in 0..1: steadier than counting prompts, since long ones come first."""
    tokens = np.array([lengths[batch].sum() for batch in batches], dtype=np.float64)
    shares: list[float] = (np.cumsum(tokens) / max(float(tokens.sum()), 1.0)).tolist()
    return shares
