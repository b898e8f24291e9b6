"""Inputs of losses: the hidden states that predict response tokens, from one forward pass for all batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reft_studio.errors import TrainingError
from reft_studio.models import fused
from reft_studio.models.batching import Batch, join
from reft_studio.models.loading import LoadedModel
from reft_studio.models.packing import PackedTokens, Packer, lay_out


@dataclass(frozen=True)
class Supervised:
    """Hidden states after the final norm, (tokens, d_model), and the token each must predict, (tokens,).

    `counts` is the number of tokens per row of `batch`, in order; `last_prompt` (rows,) is the index of each row's last prompt token in
    the flattened states (sequences · width, d_model) of the pass. Losses are divided by `total`, the tokens of the whole batch that
    `batch` is a part of, so that parts add up to the mean over all.
    """

    model: LoadedModel
    batch: Batch
    hidden: Tensor
    labels: Tensor
    counts: list[int]
    total: int
    last_prompt: Tensor

    def cross_entropy(self, *, weigh: fused.Weigh | None = None) -> Tensor:
        """Mean over supervised tokens of −log p(label), optionally weighted by `weigh`."""
        return fused.cross_entropy(self.hidden, self.labels, fused.Head.of(self.model), total=self.total, weigh=weigh)

    @property
    def positions(self) -> Tensor:
        """Position of each supervised token in its row's response, from 1, (tokens,)."""
        return torch.cat([torch.arange(1, count + 1, device=self.hidden.device) for count in self.counts])

    def log_probabilities(self) -> list[Tensor]:
        """Per row of `batch`, log p(label) of each of its supervised tokens, (tokens of the row,), without a gradient."""
        return list(torch.split(fused.log_probabilities(self.hidden, self.labels, fused.Head.of(self.model)), self.counts))

    def distillation(self, teacher: Tensor, *, head: fused.Head | None = None, temperature: float = 1.0) -> Tensor:
        """T²·mean over supervised tokens of KL(teacher ‖ student) at temperature T.

        `teacher` holds the teacher's hidden states of the same tokens, (tokens, d_model): its logits follow exactly,
        since student and teacher share the frozen head. Source: arXiv:2506.07356; direction as in methods of its lineage.
        A teacher that is another model has its own `head` with the same vocabulary; padding rows of the larger matrix are left out.
        """
        own = fused.Head.of(self.model)
        if head is not None:
            shared = min(len(own.weight), len(head.weight))
            own, head = own.first(shared), head.first(shared)
        return fused.distillation(self.hidden, teacher, own, teacher_head=head, temperature=temperature, total=self.total)


def supervise(
    model: LoadedModel,
    backbone: nn.Module,
    batches: Sequence[Batch],
    *,
    packer: Packer | None = None,
    totals: Sequence[int] | None = None,
    before: Callable[[PackedTokens], None] = lambda layout: None,
) -> list[Supervised]:
    """One forward pass over all batches, split into them again. Token t's state predicts token t + 1.

    Without a `packer` the pass is over (rows, longest row), in the order of the batches. `totals` are the supervised tokens of the whole
    batches, if these are parts of larger ones; a part may then be empty. `before` is called with the layout, before the forward pass.
    """
    totals = totals if totals is not None else [batch.supervised for batch in batches]
    if not all(totals):
        raise TrainingError("A batch has no token to train on: every response was cut away. Raise max_length or shorten the prompts.")
    rows = join(batches).examples
    plan = packer.plan(rows) if packer is not None else [[index] for index in range(len(rows))]
    layout = lay_out(rows, plan, pad_id=model.pad_id, device=model.device)
    before(layout)
    positions = {} if layout.positions is None else {"position_ids": layout.positions}
    states = backbone(input_ids=layout.input_ids, use_cache=False, **positions).last_hidden_state
    states = states.flatten(0, 1).index_select(0, layout.predicting)
    parts, row, token = [], 0, 0
    for batch, total in zip(batches, totals, strict=True):
        counts = layout.counts[row : row + len(batch)]
        chosen = slice(token, token + sum(counts))
        parts.append(
            Supervised(model, batch, states[chosen], layout.labels[chosen], counts, total, layout.last_prompt[row : row + len(batch)])
        )
        row, token = row + len(batch), chosen.stop
    return parts


@torch.no_grad()
def hidden_states(model: LoadedModel, backbone: nn.Module, batch: Batch, *, packer: Packer | None = None) -> list[Tensor]:
    """Per row of `batch`, the states that predict its response, (tokens of the row, d_model)."""
    part = supervise(model, backbone, [batch], packer=packer)[0]
    return list(torch.split(part.hidden, part.counts))
