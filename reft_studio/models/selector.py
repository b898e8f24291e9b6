"""A trainable weight per row (SEAL), updated by how hard the row is to fit; and cross entropy weighted by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reft_studio.models.side_parameters import SideParameters
from reft_studio.models.supervised import Supervised

BETAS = (0.9, 0.95)
"""Of the logits' optimizer."""
FIRST = 0.1
"""Initial logit of every row."""


class Selector:
    """Logits z of n rows, float32 on the CPU. A row's weight is n·softmax(z), 1 on average over all rows."""

    def __init__(self, rows: int) -> None:
        self._learnt = SideParameters([torch.full((rows,), FIRST)], betas=BETAS)

    @property
    def logits(self) -> Tensor:
        """(n,)."""
        return self._learnt.values[0].detach()

    @property
    def weights(self) -> Tensor:
        """(n,)."""
        return len(self.logits) * torch.softmax(self.logits, 0)

    def gradient(self, positions: Sequence[int], losses: Tensor) -> Tensor:
        """Gradient of the batch mean of weight·loss with respect to all logits, (n,); `losses` are those of the batch's rows.

        With a_j the sum of w_i·L_i / batch over the positions equal to j: a − softmax(z)·Σa.
        """
        weights = self.weights
        weighted = torch.zeros_like(weights).index_add_(
            0, torch.tensor(positions), weights[positions] * losses.float().cpu() / len(positions)
        )
        return weighted - weights / len(weights) * weighted.sum()

    def learn(self, positions: Sequence[int], losses: Tensor, *, learning_rate: float) -> None:
        """One step down that gradient."""
        self._learnt.step([self.gradient(positions, losses)], learning_rate=learning_rate)

    def highest(self, count: int) -> list[int]:
        """Positions of the `count` highest logits, in order; ties go to the first."""
        return sorted(self.logits.sort(descending=True, stable=True).indices[:count].tolist())

    def state(self) -> dict[str, Any]:
        """Logits and moments, for a snapshot."""
        return self._learnt.state()

    @classmethod
    def of(cls, state: dict[str, Any]) -> Selector:
        """Restored from a snapshot's `state`."""
        selector = cls(0)
        selector._learnt = SideParameters.of(state, device="cpu", betas=BETAS)
        return selector


class RowLosses:
    """Weighted mean over rows of their cross entropy, and each row's own loss, over the passes of one step.

    The rows of a batch have their position in it as index. `of` holds each row's mean over its supervised tokens, by position.
    """

    def __init__(self, rows: int) -> None:
        self.of = torch.zeros(rows)

    def mean(self, part: Supervised, weights: Tensor) -> Tensor:
        """Mean over the rows of the whole batch of weight·(mean over the row's tokens of −log p); a part of a batch gives its share.

        `weights` (rows of the whole batch,) are constants in the gradient.
        """
        rows, device = len(self.of), part.hidden.device
        counts = torch.tensor(part.counts, device=device, dtype=torch.long)
        positions = torch.tensor(part.batch.index, device=device, dtype=torch.long)
        shares = weights.to(device)[positions] * part.total / (rows * counts)
        by_token = torch.repeat_interleave(shares, counts)
        surprise = torch.zeros(len(part.labels), device=device)

        def weigh(log_probabilities: Tensor, tokens: slice) -> Tensor:
            surprise[tokens] = -log_probabilities
            return by_token[tokens]

        mean_loss = part.cross_entropy(weigh=weigh)
        own = torch.zeros(len(counts), device=device).index_add_(0, torch.repeat_interleave(counts), surprise) / counts
        self.of[part.batch.index] = own.cpu()
        return mean_loss
