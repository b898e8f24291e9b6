"""Scoring that survives a kill: each shard is planned, journalled and finished in a folder of its own work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
from reft_studio.scoring.work import Scored, load_shard, save_shard

FAMILIAR_SAMPLE = 2000
"""Prompts whose words are looked up in the lab's language."""


class ShardWork:
    """Scores shard after shard. What is finished lies in `folder` as NUMBER.npz; the open one as plan.npz and journal."""

    def __init__(self, folder: Path, engine: Engine, encoder: Encoder, cache: ScoreCache, key: str) -> None:
        self.folder, self.engine, self.cache, self.key = folder, engine, cache, key
        self.encoder = PromptEncoder(encoder)

    def scored(self, shard: Shard, progress: Callable[[float], None]) -> Scored:
        """The rows of a shard: read if it is finished, else computed or gone on with. `progress` gets shares in 0..1."""
        final = self.folder / f"{shard.index:05}.npz"
        if (done := load_shard(final)) is not None and done.rows == shard.rows:
            return done
        found = self._computed(shard, progress)
        save_shard(final, found)
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
