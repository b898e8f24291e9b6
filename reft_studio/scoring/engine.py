"""Scores of tokenised prompts, batch by batch along a plan: the part of the model up to the layer, and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reft_studio.errors import PrerequisiteError, is_out_of_memory
from reft_studio.models.features import last_states
from reft_studio.models.generation import free_memory
from reft_studio.models.loading import LoadedModel
from reft_studio.models.prefix import LEAST, SharedPrefix, common_prefix
from reft_studio.models.prompts import TokenLists
from reft_studio.scoring.journal import ScoreJournal
from reft_studio.scoring.plan import BatchPlan, token_shares

BUDGET = {"cpu": 1024, "other": 16_384}
"""Padded tokens of one batch. Measured on one core, d 192: 512 and 1024 alike, 2048 a seventh slower; an accelerator wants to be filled."""
TOLERANCE = {torch.float32: 1e-4}
"""How far a score may move when the prefix is shared; beyond it the prefix is not used. Half precision: 1e-2."""
Similarity = Callable[[Tensor], Tensor]


def unseen(batch: NDArray[np.int32], scores: NDArray[np.float32]) -> None:
    """Nobody looks at the scores before all are there."""


class Engine:
    """One model in one state (adapter, merged or not), one layer, one direction."""

    def __init__(self, model: LoadedModel, backbone: nn.Module, similarity: Similarity, *, layer: int) -> None:
        self.model, self.backbone, self.similarity, self.layer = model, backbone, similarity, layer
        self.budget = BUDGET["cpu" if model.device.type == "cpu" else "other"]

    def scores(self, prompts: Sequence[NDArray[np.int32]], *, prefix: SharedPrefix | None = None) -> NDArray[np.float32]:
        """(n,) cosines of one batch; NaN where the hidden state is not finite. What `prefix` holds is not computed again."""
        own = [prompt[prefix.tokens :] for prompt in prompts] if prefix else prompts
        cache: Any = prefix.cache(len(prompts)) if prefix else None
        states = last_states(self.model, self.backbone, own, layers=[self.layer], cache=cache)[:, 0].float().cpu()
        found = self.similarity(states)
        return torch.where(torch.isfinite(states).all(dim=-1), found, torch.nan).numpy().astype(np.float32)

    def plan(
        self, lists: TokenLists, digests: NDArray[np.void], known: NDArray[np.float32], *, first: NDArray[np.float32] | None = None
    ) -> BatchPlan:
        """The plan of these prompts; their common prefix is shared where that is proven on some of them. `first` as in `Plan.of`."""
        todo = np.flatnonzero(np.isnan(known) & (lists.lengths > 0))
        chosen = lists.pick(todo)
        prefix = common_prefix(chosen)
        if prefix < LEAST or not self._holds(chosen, prefix):
            prefix = 0
        return BatchPlan.of(digests, lists.lengths, known, budget=self.budget, prefix=prefix, first=first)

    def _holds(self, lists: TokenLists, tokens: int) -> bool:
        """Whether a shortest, a middling and a longest prompt score alike with and without the prefix shared."""
        by_length = np.argsort(lists.lengths, kind="stable")
        samples = [[lists[int(by_length[0])], lists[int(by_length[len(lists) // 2])]], [lists[int(by_length[-1])]]]
        try:
            prefix = SharedPrefix.of(self.model, self.backbone, lists[0][:tokens], layer=self.layer)
            if prefix is None:
                return False
            one, two = (np.concatenate([self.scores(sample, prefix=how) for sample in samples]) for how in (prefix, None))
        except (RuntimeError, ValueError, TypeError, IndexError):  # an architecture that takes no cache of this kind
            return False
        tolerance = TOLERANCE.get(next(self.model.base.parameters()).dtype, 1e-2)
        return bool(np.allclose(one, two, rtol=0, atol=tolerance, equal_nan=True))

    def run(
        self,
        plan: BatchPlan,
        lists: TokenLists,
        journal: ScoreJournal,
        *,
        on_split: Callable[[BatchPlan], None],
        progress: Callable[[float], None],
        on_batch: Callable[[NDArray[np.int32], NDArray[np.float32]], None] = unseen,
    ) -> NDArray[np.float32]:
        """Do what is left of a plan; (n,) scores of all its prompts, those that were known included.

        Each batch is in `journal` before the next begins. Where memory does not suffice, the batch is halved and
        `on_split` keeps the new plan. `progress` gets the share of the tokens that is done, `on_batch` the positions and scores of
        each batch that is computed now. Raises PrerequisiteError if a single prompt is too long for the memory.
        """
        prefix = (
            SharedPrefix.of(self.model, self.backbone, lists[int(plan.order[0])][: plan.prefix], layer=self.layer) if plan.prefix else None
        )
        batches, shares = plan.batches(), token_shares(plan.batches(), lists.lengths)
        while len(journal.done) < len(batches):
            batch = batches[len(journal.done)]
            try:
                journal.append(self.scores([lists[int(place)] for place in batch], prefix=prefix))
            except (RuntimeError, MemoryError) as exc:
                if not is_out_of_memory(exc):
                    raise
                if len(batch) == 1:
                    raise PrerequisiteError(
                        f"A prompt of {len(lists[int(batch[0])])} tokens does not fit into memory, alone in its batch. Close other "
                        "programs, prepare the teacher with a smaller max_length, or load the model in 4 bits."
                    ) from exc
            else:
                on_batch(batch, journal.done[-1])
                progress(shares[len(journal.done) - 1])
                continue
            free_memory()  # outside the handler, whose traceback would hold the batch
            plan = plan.split(len(journal.done))
            on_split(plan)
            batches, shares = plan.batches(), token_shares(plan.batches(), lists.lengths)
        values = plan.known.copy()
        for batch, found in zip(batches, journal.done, strict=True):
            values[batch] = found
        return values
