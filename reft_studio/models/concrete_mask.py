"""A relaxed binary mask over weight entries, and the preference loss it is trained with.

Mask: concrete relaxation of Bernoulli variables (Maddison et al., arXiv:1611.00712), one per entry. Loss: DPO (Rafailov et al.,
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
"""Mean of a mask below which nothing is rescaled: an empty mask removes the update."""


def sample_masks(logits: Sequence[Tensor], *, temperature: float) -> list[Tensor]:
    """A mask per tensor of logits, entries in (0, 1): σ((z + log u − log(1 − u)) / temperature), u from the training's random numbers."""
    return [RelaxedBernoulli(logits.new_tensor(temperature), logits=logits).rsample() for logits in logits]


def masked_update(updates: Sequence[Tensor], masks: Sequence[Tensor], *, scale: float) -> list[Tensor]:
    """What to add to weights with updates τ to get scale·m⊙τ / mean(m): τ⊙(scale·m/mean(m) − 1), per tensor.

    Exactly zero where a mask is constant and `scale` is 1.
    """
    means = [mask.double().mean().clamp_min(LEAST) for mask in masks]
    return [update * (scale * (mask / mean) - 1).to(update) for update, mask, mean in zip(updates, masks, means, strict=True)]


def log_probabilities(model: LoadedModel, states: States, rows: Sequence[Example]) -> Tensor:
    """Log p of each row's response, summed over its tokens, (rows,) float32.

    `states` are those after the last block, by (0, (0, row)), (tokens of the row, d_model).
    """
    head, values = fused.Head.of(model), []
    for index, row in enumerate(rows):
        start = max(row.prompt, 1)
        predicting = model.final_norm(states[0, (0, index)][start - 1 : -1])
        labels = torch.tensor(row.ids[start:], device=predicting.device)
        values.append(-fused.cross_entropy(predicting, labels, head, total=1))
    return torch.stack(values)


def preference(policy: Tensor, reference: Tensor, *, beta: float) -> tuple[Tensor, Tensor]:
    """DPO: mean of −log σ(β·margin), a scalar, and the margins, (pairs,): the gain of the chosen over the rejected response.

    Both arguments are log p of 2·pairs rows, the chosen responses first; `reference` is that of the reference model.
    """
    better, worse = (policy - reference).chunk(2)
    margins = better - worse
    return -torch.nn.functional.logsigmoid(beta * margins).mean(), margins.detach()
