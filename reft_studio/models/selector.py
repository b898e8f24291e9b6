"""A weight for each row, learnt by how hard the row is to fit; and cross entropy in which each row counts by its weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reft_studio.models.side_parameters import SideParameters
from reft_studio.models.supervised import Supervised

BETAS = (0.9, 0.95)
"""Of the optimizer of the logits."""
FIRST = 0.1
"""Logit that every row begins with."""


class Selector:
    """Logits z of n rows, float32 on the CPU. A row weighs n·softmax(z): 1 on average over all rows, whichever are in a batch."""

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

    def gradient(self, places: Sequence[int], losses: Tensor) -> Tensor:
        """Of the mean over the rows of a batch of weight·loss, by all logits, (n,); `losses` are those rows' own.

        With a_j the sum of w_i·L_i / batch over the places that are j: a − softmax(z)·Σa.
        """
        weights = self.weights
        found = torch.zeros_like(weights).index_add_(0, torch.tensor(places), weights[places] * losses.float().cpu() / len(places))
        return found - weights / len(weights) * found.sum()

    def learn(self, places: Sequence[int], losses: Tensor, *, learning_rate: float) -> None:
        """One step down that gradient."""
        self._learnt.step([self.gradient(places, losses)], learning_rate=learning_rate)

    def highest(self, count: int) -> list[int]:
        """The places of so many rows of highest logits, in order; of equal ones the first."""
        return sorted(self.logits.sort(descending=True, stable=True).indices[:count].tolist())

    def state(self) -> dict[str, Any]:
        """Logits and moments, for a snapshot."""
        return self._learnt.state()

    @classmethod
    def of(cls, state: dict[str, Any]) -> Selector:
        """As when `state` was taken."""
        found = cls(0)
        found._learnt = SideParameters.of(state, device="cpu", betas=BETAS)
        return found


class RowLosses:
    """Mean of each row's own cross entropy, and of it what each row's own is, over the passes of one step.

    The rows of a batch know their place in it by their index. `of` holds the row's mean over its supervised tokens, by place.
    """

    def __init__(self, rows: int) -> None:
        self.of = torch.zeros(rows)

    def mean(self, part: Supervised, weights: Tensor) -> Tensor:
        """Mean over the rows of the whole batch of weight·(mean over the row's tokens of −log p); a part of a batch gives its share.

        `weights` (rows of the whole batch,) are constants of the gradient.
        """
        rows, device = len(self.of), part.hidden.device
        counts = torch.tensor(part.counts, device=device, dtype=torch.long)
        places = torch.tensor(part.batch.index, device=device, dtype=torch.long)
        shares = weights.to(device)[places] * part.total / (rows * counts)
        by_token = torch.repeat_interleave(shares, counts)
        surprise = torch.zeros(len(part.labels), device=device)

        def weigh(log_probabilities: Tensor, some: slice) -> Tensor:
            surprise[some] = -log_probabilities
            return by_token[some]

        found = part.cross_entropy(weigh=weigh)
        own = torch.zeros(len(counts), device=device).index_add_(0, torch.repeat_interleave(counts), surprise) / counts
        self.of[part.batch.index] = own.cpu()
        return found
