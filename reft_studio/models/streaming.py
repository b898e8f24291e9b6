"""Streams the responses of several models to one prompt: one forward pass per token for all lanes, each with its own adapter."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reft_studio.models.adapters import AdaptedModel


@dataclass(frozen=True)
class StreamLane:
    """One responding model: a name, and its adapter or None for the base."""

    name: str
    adapter: str | None


@dataclass(frozen=True)
class NewText:
    """New text of one lane; `stop` is set once, with the last of it."""

    lane: str
    delta: str
    stop: str | None
    tokens: int


class _Answer:
    """The tokens of a lane so far, and how much of their text was yielded."""

    def __init__(self, lane: StreamLane, tokenizer: Any) -> None:
        self.lane, self.tokenizer = lane, tokenizer
        self.ids: list[int] = []
        self.given = 0
        self.stop: str | None = None

    def take(self, token: int, *, ends: Collection[int], limit: int) -> NewText | None:
        if token in ends:
            self.stop = "end"
        else:
            self.ids.append(token)
            self.stop = "length" if len(self.ids) >= limit else None
        text = self.tokenizer.decode(self.ids, skip_special_tokens=True)
        if not self.stop and text.endswith("\ufffd"):  # half of a character: wait for its other bytes
            return None
        delta, self.given = text[self.given :], max(self.given, len(text))
        return NewText(self.lane.name, delta, self.stop, len(self.ids)) if delta or self.stop else None


@torch.no_grad()
def stream(
    adapted: AdaptedModel, lanes: Sequence[StreamLane], prompt: Sequence[int], *, max_new_tokens: int, temperature: float, seed: int
) -> Iterator[NewText]:
    """Yield text as it is generated. Greedy at temperature 0; else every lane samples with the same seed."""
    model = adapted.model
    answers = [_Answer(lane, model.tokenizer) for lane in lanes]
    draws = [torch.Generator().manual_seed(seed) for _ in lanes]
    ids = torch.tensor([list(prompt)] * len(lanes), device=model.device)
    mask, cache = torch.ones_like(ids), None
    limit = model.room(len(prompt), max_new_tokens)
    while any(answer.stop is None for answer in answers):
        with adapted.mixed([lane.adapter for lane in lanes]) as network:
            output = network(input_ids=ids, attention_mask=mask, cache=cache, use_cache=True)
        cache = output.cache
        chosen = [_choose(logits, temperature, draw) for logits, draw in zip(output.logits[:, -1].float(), draws, strict=True)]
        for answer, token in zip(answers, chosen, strict=True):
            step = None if answer.stop else answer.take(token, ends=model.stop_ids, limit=limit)
            if step:
                yield step
        ids = torch.tensor(chosen, device=model.device)[:, None]
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)


def _choose(logits: Tensor, temperature: float, draw: torch.Generator) -> int:
    if temperature <= 0:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits.cpu() / temperature, dim=-1), 1, generator=draw))
