"""Scores tokenised prompts batch by batch along a plan, running the model only up to the layer."""

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
"""Padded tokens per batch. Measured on one core, d 192: 512 and 1024 alike, 2048 a seventh slower; an accelerator needs large batches."""
TOLERANCE = {torch.float32: 1e-4}
"""Maximum change of a score by sharing the prefix; beyond it the prefix is not shared. Half precision: 1e-2."""
Similarity = Callable[[Tensor], Tensor]


def unseen(batch: NDArray[np.int32], scores: NDArray[np.float32]) -> None:
    """No-op callback."""


class Engine:
    """One model in one state (adapter, merged or not), one layer, one direction."""

    def __init__(self, model: LoadedModel, backbone: nn.Module, similarity: Similarity, *, layer: int) -> None:
        self.model, self.backbone, self.similarity, self.layer = model, backbone, similarity, layer
        self.budget = BUDGET["cpu" if model.device.type == "cpu" else "other"]

    def scores(self, prompts: Sequence[NDArray[np.int32]], *, prefix: SharedPrefix | None = None) -> NDArray[np.float32]:
        """(n,) cosines of one batch; NaN where the hidden state is not finite. The tokens of `prefix` are not recomputed."""
        own = [prompt[prefix.tokens :] for prompt in prompts] if prefix else prompts
        cache: Any = prefix.cache(len(prompts)) if prefix else None
        states = last_states(self.model, self.backbone, own, layers=[self.layer], cache=cache)[:, 0].float().cpu()
        similarities = self.similarity(states)
        return torch.where(torch.isfinite(states).all(dim=-1), similarities, torch.nan).numpy().astype(np.float32)

    def plan(
        self, lists: TokenLists, digests: NDArray[np.void], known: NDArray[np.float32], *, first: NDArray[np.float32] | None = None
    ) -> BatchPlan:
        """The plan of these prompts; their common prefix is shared if tests on a few of them pass. `first` as in `BatchPlan.of`."""
        todo = np.flatnonzero(np.isnan(known) & (lists.lengths > 0))
        chosen = lists.pick(todo)
        prefix = common_prefix(chosen)
        if prefix < LEAST or not self._holds(chosen, prefix):
            prefix = 0
        return BatchPlan.of(digests, lists.lengths, known, budget=self.budget, prefix=prefix, first=first)

    def _holds(self, lists: TokenLists, tokens: int) -> bool:
        """Whether a short, a medium and a long prompt get equal scores with and without the shared prefix."""
        by_length = np.argsort(lists.lengths, kind="stable")
        samples = [[lists[int(by_length[0])], lists[int(by_length[len(lists) // 2])]], [lists[int(by_length[-1])]]]
        try:
            prefix = SharedPrefix.of(self.model, self.backbone, lists[0][:tokens], layer=self.layer)
            if prefix is None:
                return False
            shared, plain = (
                np.concatenate([self.scores(sample, prefix=used_prefix) for sample in samples]) for used_prefix in (prefix, None)
            )
        except (RuntimeError, ValueError, TypeError, IndexError):  # an architecture that takes no cache of this kind
            return False
        tolerance = TOLERANCE.get(next(self.model.base.parameters()).dtype, 1e-2)
        return bool(np.allclose(shared, plain, rtol=0, atol=tolerance, equal_nan=True))

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
        """Run the remaining batches of a plan; returns (n,) scores of all its prompts, including known ones.

        Each batch is written to `journal` before the next begins. A batch that runs out of memory is halved and `on_split` stores the new
        plan. `progress` gets the share of tokens done, `on_batch` the positions and scores of each batch computed now. Raises
        PrerequisiteError if a single prompt does not fit in memory.
        """
        prefix = (
            SharedPrefix.of(self.model, self.backbone, lists[int(plan.order[0])][: plan.prefix], layer=self.layer) if plan.prefix else None
        )
        batches, shares = plan.batches(), token_shares(plan.batches(), lists.lengths)
        while len(journal.done) < len(batches):
            batch = batches[len(journal.done)]
            try:
                journal.append(self.scores([lists[int(position)] for position in batch], prefix=prefix))
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
        for batch, scores in zip(batches, journal.done, strict=True):
            values[batch] = scores
        return values
