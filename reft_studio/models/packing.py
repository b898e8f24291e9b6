"""Lays rows out for a forward pass: several per sequence where the model keeps them apart, else one per sequence.

No attention mask is needed: models are causal and padding is on the right, and transformers keeps rows of one
sequence apart when their positions restart (packed-sequence detection of its masking functions).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reft_studio.models.batching import Example
from reft_studio.models.loading import LoadedModel

SLACK = 0.05
"""Share of padding below which rows are not packed: a block mask costs attention its fast causal path."""
WIDEST = 4
"""Maximum width of a packed sequence in multiples of the longest row: attention grows with the square of its length."""


@dataclass(frozen=True)
class PackedTokens:
    """Token ids and positions, (sequences, width); `positions` is None where every row has a sequence of its own.

    predicting: indices into the flattened states of those that predict response tokens, row after row; labels: those tokens; counts: their
    number per row. last_prompt: per row, index of its last prompt token's state; spans: per row, the slice of all its tokens.
    """

    input_ids: Tensor
    positions: Tensor | None
    predicting: Tensor
    labels: Tensor
    counts: list[int]
    last_prompt: Tensor
    spans: list[slice]


def lay_out(rows: Sequence[Example], plan: Sequence[Sequence[int]], *, pad_id: int, device: torch.device | str = "cpu") -> PackedTokens:
    """The layout of `rows` by a `plan`: the positions of the rows in each sequence."""
    width = max(sum(len(rows[index].ids) for index in sequence) for sequence in plan)
    ids, positions, starts = [], [], [0] * len(rows)
    for number, sequence in enumerate(plan):
        line: list[int] = []
        row_positions: list[int] = []
        for index in sequence:
            starts[index] = number * width + len(line)
            line += rows[index].ids
            row_positions += range(len(rows[index].ids))
        # padding goes on counting, as a part of the last row that comes after all of its tokens
        row_positions += range(row_positions[-1] + 1, row_positions[-1] + 1 + width - len(line))
        ids.append(line + [pad_id] * (width - len(line)))
        positions.append(row_positions)
    predicting: list[int] = []
    labels: list[int] = []
    counts: list[int] = []
    for row, start in zip(rows, starts, strict=True):
        first = max(row.prompt, 1)
        predicting += range(start + first - 1, start + len(row.ids) - 1)
        labels += row.ids[first:]
        counts.append(len(row.ids) - first)
    packed = any(len(sequence) > 1 for sequence in plan)
    return PackedTokens(
        torch.tensor(ids, device=device),
        torch.tensor(positions, device=device) if packed else None,
        torch.tensor(predicting, dtype=torch.long, device=device),
        torch.tensor(labels, dtype=torch.long, device=device),
        counts,
        torch.tensor([start + max(row.prompt, 1) - 1 for row, start in zip(rows, starts, strict=True)], dtype=torch.long, device=device),
        [slice(start, start + len(row.ids)) for row, start in zip(rows, starts, strict=True)],
    )


def pack(lengths: Sequence[int], *, limit: int, d_model: int) -> list[list[int]]:
    """The cheapest plan: one row per sequence if there is little padding, else best-fit packing into equal widths.

    No sequence of several rows has more than `limit` tokens; if a row is longer than that, rows are not packed.
    Cost model of a decoder block: tokens · (6·d_model + width), linear layers and attention.
    """
    longest, tokens = max(lengths), sum(lengths)
    alone = [[index] for index in range(len(lengths))]
    if longest > limit or len(lengths) * longest * (1 - SLACK) <= tokens:
        return alone
    widest = min(WIDEST * longest, limit)
    least = -(-tokens // widest)
    most = max(least, tokens // longest)  # no wider sequence than the longest row leaves one count only
    counts = range(least, most + 1, 1 + (most - least) // 8)
    # a few tokens above an even share, since rows do not fill it exactly
    shares = {-(-tokens // count) * (100 + extra) // 100 for count in counts for extra in (0, 2, 4)}
    plans = [_best_fit(lengths, width) for width in sorted({longest, *shares}) if longest <= width <= widest]

    def cost(plan: list[list[int]]) -> int:
        width = max(sum(lengths[index] for index in sequence) for sequence in plan)
        return len(plan) * width * (6 * d_model + width)

    return min(plans, key=cost)


def _best_fit(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Best fit, longest first; rows keep their order within a sequence, so that a plan depends on lengths alone."""
    plan: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda item: (-lengths[item], item)):
        fitting = [(space, number) for number, space in enumerate(room) if space >= lengths[index]]
        if fitting:
            number = min(fitting)[1]
        else:
            number = len(plan)
            plan.append([])
            room.append(width)
        plan[number].append(index)
        room[number] -= lengths[index]
    return plan


class Packer:
    """Plans layouts for one model; whether it keeps packed rows apart is tested, not looked up."""

    def __init__(self, model: LoadedModel, backbone: nn.Module, *, wanted: bool = True) -> None:
        config = model.base.config.get_text_config()
        self._flat = str(getattr(config, "_attn_implementation", "")).startswith("flash")
        self._limit, self._d_model = model.context, int(config.hidden_size)
        self.packs = wanted and keeps_apart(model, backbone)

    def plan(self, rows: Sequence[Example]) -> list[list[int]]:
        if not self.packs or len(rows) == 1:
            return [[index] for index in range(len(rows))]
        if self._flat:  # variable-length kernels take all rows as one sequence, without any padding
            return [list(range(len(rows)))]
        return pack([len(row.ids) for row in rows], limit=self._limit, d_model=self._d_model)


@torch.no_grad()
def keeps_apart(model: LoadedModel, backbone: nn.Module) -> bool:
    """Whether two rows in one sequence give the same states as separately: false for recurrent and older models."""
    if "position_ids" not in inspect.signature(backbone.forward).parameters:
        return False
    size = int(model.base.config.get_text_config().vocab_size)
    rows = [Example([(7 * start + 5 * token + 3) % size for token in range(count)], 1, start) for start, count in ((0, 9), (1, 7))]
    states_of_plans = []
    for plan in ([[0], [1]], [[0, 1]]):
        layout = lay_out(rows, plan, pad_id=model.pad_id, device=model.device)
        extra = {} if layout.positions is None else {"position_ids": layout.positions}
        states = backbone(input_ids=layout.input_ids, use_cache=False, **extra).last_hidden_state.flatten(0, 1)
        states_of_plans.append(states[layout.predicting].float())
    return bool((states_of_plans[0] - states_of_plans[1]).norm() <= 0.03 * states_of_plans[0].norm())
