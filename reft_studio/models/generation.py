"""Greedy or sampled continuations, batched, with the reason each one stopped."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

import torch

from reft_studio.models.adapters import AdaptedModel
from reft_studio.models.batching import by_length

StopReason = Literal["end", "length"]


@dataclass(frozen=True)
class Completion:
    """One answer; `index` is the prompt's position, so that batches may come in any order."""

    index: int
    text: str
    stop: StopReason
    tokens: int


@torch.no_grad()
def complete(
    adapted: AdaptedModel,
    adapter: str | None,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 256,
    batch_rows: int = 64,
) -> Iterator[Completion]:
    """Greedy answers to tokenised prompts, in batches of like length, padded on the left."""
    model = adapted.model
    with adapted.generating(adapter) as network:
        for plan in by_length([len(prompt) for prompt in prompts], max_rows=batch_rows):
            width = max(len(prompts[position]) for position in plan)
            ids = torch.full((len(plan), width), model.pad_id, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, position in enumerate(plan):
                ids[row, width - len(prompts[position]) :] = torch.tensor(prompts[position])
                mask[row, width - len(prompts[position]) :] = 1
            output = network.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=model.room(width, max_new_tokens),
                do_sample=False,
                use_cache=True,
                pad_token_id=model.pad_id,
                eos_token_id=list(model.stop_ids),
            )
            for position, answer in zip(plan, output[:, width:].tolist(), strict=True):
                yield _completion(model.tokenizer, position, answer, model.stop_ids)


def _completion(tokenizer: Any, index: int, ids: list[int], ends: Collection[int]) -> Completion:
    kept = list(takewhile(lambda token: token not in ends, ids))
    stop: StopReason = "end" if len(kept) < len(ids) else "length"
    return Completion(index, tokenizer.decode(kept, skip_special_tokens=True).strip(), stop, len(kept))
