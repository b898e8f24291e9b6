"""What losses are made of: the hidden states that predict response tokens, from one forward pass for all batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from reft_studio.errors import TrainingError
from reft_studio.models.batching import IGNORE, Batch, join
from reft_studio.models.loading import LoadedModel


@dataclass(frozen=True)
class Supervised:
    """Hidden states after the final norm, (tokens, d_model), and the token each must predict, (tokens,).

    `counts` says how many of the tokens belong to each row of `batch`, in order.
    """

    model: LoadedModel
    batch: Batch
    hidden: Tensor
    labels: Tensor
    counts: list[int]

    def cross_entropy(self) -> Tensor:
        """Mean over supervised tokens of −log p(label)."""
        return functional.cross_entropy(self.model.logits(self.hidden), self.labels)

    def distillation(self, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
        """T²·mean over supervised tokens of KL(teacher ‖ student) at temperature T.

        `teacher` holds the teacher's hidden states of the same tokens, (tokens, d_model): its logits follow exactly,
        since student and teacher share the frozen head. Source: arXiv:2506.07356; direction as in methods of its lineage.
        """
        return divergence(self.model.logits(teacher), self.model.logits(self.hidden), temperature=temperature)


def divergence(teacher: Tensor, student: Tensor, *, temperature: float) -> Tensor:
    """T²·mean over rows of KL(softmax(teacher / T) ‖ softmax(student / T)); logits are (tokens, vocabulary)."""
    target = functional.log_softmax(teacher.detach().float() / temperature, dim=-1)
    found = functional.log_softmax(student.float() / temperature, dim=-1)
    return temperature**2 * functional.kl_div(found, target, log_target=True, reduction="sum") / len(student)


def supervise(model: LoadedModel, backbone: nn.Module, batches: Sequence[Batch]) -> list[Supervised]:
    """One forward pass over all batches, split again. Token t's state predicts token t + 1."""
    whole = join(batches, pad_id=model.pad_id)
    states = backbone(input_ids=whole.input_ids, attention_mask=whole.attention_mask, use_cache=False).last_hidden_state
    parts, start = [], 0
    for batch in batches:
        labels = whole.labels[start : start + len(batch), 1:]
        chosen = labels != IGNORE
        if not bool(chosen.any()):
            raise TrainingError("A batch has no token to train on: every response was cut away. Raise max_length or shorten the prompts.")
        hidden = states[start : start + len(batch), :-1][chosen]
        parts.append(Supervised(model, batch, hidden, labels[chosen], chosen.sum(dim=1).tolist()))
        start += len(batch)
    return parts


@torch.no_grad()
def hidden_states(model: LoadedModel, backbone: nn.Module, batch: Batch) -> list[Tensor]:
    """Per row of `batch`, the states that predict its response, (tokens of the row, d_model)."""
    part = supervise(model, backbone, [batch])[0]
    return list(torch.split(part.hidden, part.counts))
