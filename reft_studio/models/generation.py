"""Batched generation, greedy or sampled, with the stop reason of each response; a batch that does not fit in memory is halved."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from reft_studio.errors import is_out_of_memory
from reft_studio.models.adapters import AdaptedModel
from reft_studio.models.batching import by_length

StopReason = Literal["end", "length"]
T = TypeVar("T")
TOKENS = 32_768
"""Prompt and response tokens of one batch: about 4 GB of keys and values in an 8 B model with grouped heads, in half precision."""


@dataclass(frozen=True)
class Completion:
    """One response; `index` is the prompt's position, so that batches may come in any order."""

    index: int
    text: str
    stop: StopReason
    tokens: int


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: `temperature` 0 is greedy. `seed` makes a batch repeatable."""

    temperature: float = 0.0
    seed: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """Arguments for `generate`."""
        return {"do_sample": True, "temperature": self.temperature, "top_k": 0} if self.temperature > 0 else {"do_sample": False}


@torch.no_grad()
def complete(
    adapted: AdaptedModel,
    adapter: str | None,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 256,
    batch_rows: int = 64,
    token_budget: int = TOKENS,
    sampling: Sampling = Sampling(),
    on: Sequence[str] = (),
) -> Iterator[Completion]:
    """Responses to tokenised prompts, in batches of similar length, padded on the left; adapters `on` are active too."""
    model = adapted.model
    plan = by_length([len(prompt) + max_new_tokens for prompt in prompts], token_budget=token_budget, max_rows=batch_rows)
    with adapted.generating(adapter, on=on) as network:

        def respond(batch: list[int]) -> list[Completion]:
            ids, mask = left_padded([prompts[position] for position in batch], pad_id=model.pad_id)
            width = ids.shape[1]
            with torch.random.fork_rng(enabled=sampling.temperature > 0):
                if sampling.temperature > 0:
                    torch.manual_seed(hash((sampling.seed, *batch)) % (1 << 63))
                output = network.generate(
                    input_ids=ids.to(model.device),
                    attention_mask=mask.to(model.device),
                    max_new_tokens=model.room(width, max_new_tokens),
                    use_cache=True,
                    pad_token_id=model.pad_id,
                    eos_token_id=list(model.stop_ids),
                    **sampling.options,
                )
            responses = output[:, width:].tolist()
            return [
                _completion(model.tokenizer, position, tokens, model.stop_ids) for position, tokens in zip(batch, responses, strict=True)
            ]

        yield from halving(plan, respond)


def left_padded(prompts: Sequence[Sequence[int]], *, pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, (n, t) int64, with every prompt ending in the last column."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids, mask


def halving(plan: Sequence[list[int]], work: Callable[[list[int]], list[T]]) -> Iterator[T]:
    """The results of all batches; a batch that runs out of memory is split in halves, and later ones are no larger than what worked.

    A single row that does not fit raises torch's error.
    """
    waiting, most = deque(plan), max((len(batch) for batch in plan), default=1)
    while waiting:
        batch = waiting.popleft()
        if len(batch) > most:
            waiting.appendleft(batch[most:])
            batch = batch[:most]
        try:
            done = work(batch)
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc) or len(batch) == 1:
                raise
            most = max(1, len(batch) // 2)
            waiting.appendleft(batch)
        else:
            yield from done
            continue
        free_memory()  # outside the handler, whose traceback would hold the batch


def free_memory() -> None:
    """Release unreferenced memory, on an accelerator too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _completion(tokenizer: Any, index: int, ids: list[int], ends: Collection[int]) -> Completion:
    kept = list(takewhile(lambda token: token not in ends, ids))
    stop: StopReason = "end" if len(kept) < len(ids) else "length"
    return Completion(index, tokenizer.decode(kept, skip_special_tokens=True).strip(), stop, len(kept))
