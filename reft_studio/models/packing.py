"""How rows are laid out for a forward pass: several to a sequence where the model keeps them apart, else one by one.

No attention mask is ever needed: models are causal and padding stands on the right, and transformers keeps rows of one
sequence apart when their positions start again (packed-sequence detection of its masking functions).
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
"""A packed sequence is at most so many times the longest row: attention grows with the square of its length."""


@dataclass(frozen=True)
class PackedTokens:
    """Token ids and positions, (sequences, width); `positions` is None where every row has a sequence of its own.

    predicting: index into the flattened states of the states that predict response tokens, row after row in the order
    given; labels: those tokens; counts: their number per row. last_prompt: per row, index of its last prompt token's state in them;
    spans: per row, where all of its tokens stand in them.
    """

    input_ids: Tensor
    positions: Tensor | None
    predicting: Tensor
    labels: Tensor
    counts: list[int]
    last_prompt: Tensor
    spans: list[slice]


def lay_out(rows: Sequence[Example], plan: Sequence[Sequence[int]], *, pad_id: int, device: torch.device | str = "cpu") -> PackedTokens:
    """The layout of `rows` after a `plan`: for each sequence the rows in it, by their place."""
    width = max(sum(len(rows[place].ids) for place in sequence) for sequence in plan)
    ids, positions, starts = [], [], [0] * len(rows)
    for number, sequence in enumerate(plan):
        line: list[int] = []
        where: list[int] = []
        for place in sequence:
            starts[place] = number * width + len(line)
            line += rows[place].ids
            where += range(len(rows[place].ids))
        # padding goes on counting, as a part of the last row that comes after all of its tokens
        where += range(where[-1] + 1, where[-1] + 1 + width - len(line))
        ids.append(line + [pad_id] * (width - len(line)))
        positions.append(where)
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
    """A plan that costs least: one row to a sequence if padding is small, else best-fit packing into equal widths.

    No sequence of several rows has more than `limit` tokens; rows of which one is longer than that are not packed.
    Cost follows the arithmetic of a decoder block: tokens · (6·d_model + width), linear layers and attention.
    """
    longest, tokens = max(lengths), sum(lengths)
    alone = [[place] for place in range(len(lengths))]
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
        width = max(sum(lengths[place] for place in sequence) for sequence in plan)
        return len(plan) * width * (6 * d_model + width)

    return min(plans, key=cost)


def _best_fit(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Best fit, longest first; rows keep their order within a sequence, so that a plan depends on lengths alone."""
    plan: list[list[int]] = []
    room: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda item: (-lengths[item], item)):
        fitting = [(space, number) for number, space in enumerate(room) if space >= lengths[place]]
        if fitting:
            number = min(fitting)[1]
        else:
            number = len(plan)
            plan.append([])
            room.append(width)
        plan[number].append(place)
        room[number] -= lengths[place]
    return plan


class Packer:
    """Decides plans for one model: whether it keeps packed rows apart is tried out, not looked up."""

    def __init__(self, model: LoadedModel, backbone: nn.Module, *, wanted: bool = True) -> None:
        config = model.base.config.get_text_config()
        self._flat = str(getattr(config, "_attn_implementation", "")).startswith("flash")
        self._limit, self._d_model = model.context, int(config.hidden_size)
        self.packs = wanted and keeps_apart(model, backbone)

    def plan(self, rows: Sequence[Example]) -> list[list[int]]:
        if not self.packs or len(rows) == 1:
            return [[place] for place in range(len(rows))]
        if self._flat:  # variable-length kernels take all rows as one sequence, without any padding
            return [list(range(len(rows)))]
        return pack([len(row.ids) for row in rows], limit=self._limit, d_model=self._d_model)


@torch.no_grad()
def keeps_apart(model: LoadedModel, backbone: nn.Module) -> bool:
    """Whether two rows in one sequence give the states they give alone: false for recurrent and for older models."""
    if "position_ids" not in inspect.signature(backbone.forward).parameters:
        return False
    size = int(model.base.config.get_text_config().vocab_size)
    rows = [Example([(7 * start + 5 * token + 3) % size for token in range(count)], 1, start) for start, count in ((0, 9), (1, 7))]
    found = []
    for plan in ([[0], [1]], [[0, 1]]):
        layout = lay_out(rows, plan, pad_id=model.pad_id, device=model.device)
        given = {} if layout.positions is None else {"position_ids": layout.positions}
        states = backbone(input_ids=layout.input_ids, use_cache=False, **given).last_hidden_state.flatten(0, 1)
        found.append(states[layout.predicting].float())
    return bool((found[0] - found[1]).norm() <= 0.03 * found[0].norm())
