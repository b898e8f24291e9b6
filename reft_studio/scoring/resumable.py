"""Scoring that survives a kill: each shard is planned, journalled and finished in a work folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reft_studio.lab.sets import unfamiliar_share
from reft_studio.models.batching import Encoder
from reft_studio.models.prompts import CUT, NO_TOKENS, PromptEncoder, TokenLists
from reft_studio.models.prompts import REFUSED as TEMPLATE_REFUSED
from reft_studio.scoring.cache import ScoreCache, digests_of
from reft_studio.scoring.engine import Engine
from reft_studio.scoring.journal import ScoreJournal
from reft_studio.scoring.plan import BatchPlan
from reft_studio.scoring.shards import NO_TOKENS as LEFT_EMPTY
from reft_studio.scoring.shards import NOT_FINITE, NOT_REACHED, REFUSED, Shard, row_scores
from reft_studio.scoring.work import Scored, load_shard, save_shard

FAMILIAR_SAMPLE = 2000
"""Prompts whose words are compared with the lab's vocabulary."""


Show = Callable[[Callable[[], tuple[NDArray[np.float32], NDArray[np.uint8]]]], None]
"""Called after each batch with a function that returns the current scores and reasons of the shard's rows."""


class ShardWork:
    """Scores shard after shard. Finished ones are NUMBER.npz in `folder`; the current one is plan.npz and journal."""

    def __init__(self, folder: Path, engine: Engine, encoder: Encoder, cache: ScoreCache, key: str) -> None:
        self.folder, self.engine, self.cache, self.key = folder, engine, cache, key
        self.encoder = PromptEncoder(encoder)

    def scored(self, shard: Shard, progress: Callable[[float], None], *, first: NDArray[np.float32] | None, show: Show) -> Scored:
        """The rows of a shard: read if finished, else computed or resumed. `progress` gets shares in 0..1.

        `first`: (rows of the shard,) the rows with high values are computed before those with low ones.
        """
        final = self.folder / f"{shard.index:05}.npz"
        if (done := load_shard(final)) is not None and done.rows == shard.rows:
            return done
        scored = self._computed(shard, progress, first, show)
        save_shard(final, scored)
        for name in ("plan.npz", "splits.json", "journal"):
            (self.folder / name).unlink(missing_ok=True)
        return scored

    def _computed(self, shard: Shard, progress: Callable[[float], None], first: NDArray[np.float32] | None, show: Show) -> Scored:
        unfamiliar = unfamiliar_share(shard.texts[:FAMILIAR_SAMPLE]) if shard.index == 0 else 0.0
        lists, fates = self.encoder.encode(shard.texts)
        shard.texts.clear()  # half of a shard's memory, and not needed any more
        digests = digests_of(lists, self.key)
        distinct, firsts, units = np.unique(digests, return_index=True, return_inverse=True)
        prompts, of_texts = lists.pick(firsts), units.reshape(-1)
        plan = self._planned(prompts, distinct, None if first is None else _highest(first, shard, of_texts, len(distinct)))

        def rows(values: NDArray[np.float32], reached: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
            of_text = values[of_texts]
            why = np.where(np.isnan(of_text), NOT_FINITE, 0).astype(np.uint8)
            why[~reached[of_texts]] = NOT_REACHED
            why[fates == TEMPLATE_REFUSED] = REFUSED
            why[fates == NO_TOKENS] = LEFT_EMPTY
            return row_scores(shard, of_text, why)

        values = self._run(plan, prompts, progress, lambda values, reached: show(lambda: rows(values, reached)))
        self.cache.add(plan.fingerprint[:16], distinct[plan.order], values[plan.order])
        scores, reasons = rows(values, np.ones(len(values), dtype=bool))
        cut = _rows_with(shard, fates == CUT)
        counts = {
            "distinct_prompts": len(prompts),
            "computed_prompts": len(plan.order),
            "cached_prompts": int((~np.isnan(plan.known)).sum()),
            "truncated": int(cut.sum()),
        }
        return Scored(scores, reasons, shard.rows, counts, unfamiliar, cut)

    def _planned(self, prompts: TokenLists, digests: NDArray[np.void], first: NDArray[np.float32] | None) -> BatchPlan:
        """The frozen plan: the one on disk if it is of these prompts, else a new one, stored before it is used.

        A stored plan with another order is resumed: its batches are what gives the same bits.
        """
        if (stored := BatchPlan.load(self.folder)) is not None and stored.is_of(digests, prompts.lengths, budget=self.engine.budget):
            return stored
        (self.folder / "journal").unlink(missing_ok=True)
        plan = self.engine.plan(prompts, digests, self.cache.lookup(digests), first=first)
        plan.save(self.folder)
        return plan

    def _run(
        self,
        plan: BatchPlan,
        prompts: TokenLists,
        progress: Callable[[float], None],
        on_scores: Callable[[NDArray[np.float32], NDArray[np.bool_]], None],
    ) -> NDArray[np.float32]:
        """Scores of the distinct prompts. `seen` gets, after each batch, the scores so far and which are computed."""
        if not len(plan.order):
            return plan.known
        values, reached = plan.known.copy(), np.ones(len(plan.known), dtype=bool)
        reached[plan.order] = False

        def put(batch: NDArray[np.int32], scores: NDArray[np.float32]) -> None:
            values[batch], reached[batch] = scores, True

        def computed(batch: NDArray[np.int32], scores: NDArray[np.float32]) -> None:
            put(batch, scores)
            on_scores(values, reached)

        with ScoreJournal(self.folder / "journal") as journal:
            for batch, scores in zip(plan.batches(), journal.done, strict=False):
                put(batch, scores)
            grown = partial(BatchPlan.save_splits, folder=self.folder)
            return self.engine.run(plan, prompts, journal, on_split=grown, progress=progress, on_batch=computed)


def _highest(first: NDArray[np.float32], shard: Shard, units: NDArray[np.intp], count: int) -> NDArray[np.float32]:
    """(count,) per distinct prompt the highest value of the rows that contain it; `units` is the prompt of each text."""
    highest = np.full(count, -np.inf, dtype=np.float32)
    turns, turns_per_row = np.array(shard.turns, dtype=np.int64), np.diff(np.array([0, *shard.ends]))
    values = np.repeat(np.where(np.isnan(first), np.float32(-1), first), turns_per_row)
    np.maximum.at(highest, units[turns], values)
    return highest


def _rows_with(shard: Shard, marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(rows,) whether at least one turn of a row is marked."""
    rows = np.zeros(shard.rows, dtype=bool)
    row_of_turn = np.repeat(np.arange(shard.rows), np.diff(np.array([0, *shard.ends])))
    rows[row_of_turn[marked[np.array(shard.turns, dtype=np.int64)]]] = True
    return rows
