"""A relaxed mask over the entries of weights, and the loss by which it is learnt: which of two answers a model prefers.

Mask: Bernoulli variables as numbers between 0 and 1 (Maddison et al., arXiv:1611.00712), one for each entry. Loss: DPO (Rafailov et al.,
arXiv:2305.18290).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import RelaxedBernoulli

from reft_studio.models import fused
from reft_studio.models.batching import Example
from reft_studio.models.joint_losses import States
from reft_studio.models.loading import LoadedModel

LEAST = 1e-7
"""Mean of a mask below which nothing is scaled up: an empty mask takes everything away."""


def drawn(logits: Sequence[Tensor], *, temperature: float) -> list[Tensor]:
    """A mask for each tensor of logits, between 0 and 1: σ((z + log u − log(1 − u)) / temperature), u by the training's random numbers."""
    return [RelaxedBernoulli(logits.new_tensor(temperature), logits=logits).rsample() for logits in logits]


def scaled(updates: Sequence[Tensor], masks: Sequence[Tensor], *, scale: float) -> list[Tensor]:
    """What takes weights with these updates τ to scale·m⊙τ / mean(m) of them: τ⊙(scale·m/mean(m) − 1), of each tensor by itself.

    Exactly zero where a mask is the same everywhere and `scale` is 1.
    """
    means = [mask.double().mean().clamp_min(LEAST) for mask in masks]
    return [update * (scale * (mask / mean) - 1).to(update) for update, mask, mean in zip(updates, masks, means, strict=True)]


def log_probabilities(model: LoadedModel, states: States, rows: Sequence[Example]) -> Tensor:
    """How likely the response of each row is, log p summed over its tokens, (rows,) float32.

    `states` are those after the last block, by (0, (0, place)), (tokens of the row, d_model).
    """
    head, found = fused.Head.of(model), []
    for place, row in enumerate(rows):
        begins = max(row.prompt, 1)
        predicting = model.final_norm(states[0, (0, place)][begins - 1 : -1])
        labels = torch.tensor(row.ids[begins:], device=predicting.device)
        found.append(-fused.cross_entropy(predicting, labels, head, total=1))
    return torch.stack(found)


def preference(found: Tensor, reference: Tensor, *, beta: float) -> tuple[Tensor, Tensor]:
    """DPO: mean of −log σ(β·margin), a scalar, and the margins, (pairs,): by how much the better answer gained on the worse.

    Both are log p of 2·pairs rows, the better answers first; `reference` is that of the model compared with.
    """
    better, worse = (found - reference).chunk(2)
    margins = better - worse
    return -torch.nn.functional.logsigmoid(beta * margins).mean(), margins.detach()
