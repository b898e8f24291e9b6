"""Keys and values of the tokens that all prompts begin with, computed once and shared by every batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reft_studio.models.features import captured, last_prompt_features
from reft_studio.models.loading import LoadedModel
from reft_studio.models.prompts import TokenLists

LEAST = 4
"""Shorter prefixes are not cached."""
CHANGED = {True: 1e-6, False: 1e-3}
"""Tolerated deviation from cosine 1 between states with and without the shared prefix: in float32 (True), in half precision."""


def common_prefix(lists: TokenLists) -> int:
    """Number of tokens shared at the start of all lists, at least one less than the shortest: each keeps its own last token."""
    if len(lists) < 2:
        return 0
    first, starts = lists[0], lists.starts[:-1]
    for position in range(int(lists.lengths.min()) - 1):
        if (lists.ids[starts + position] != first[position]).any():
            return position
    return max(int(lists.lengths.min()) - 1, 0)


@dataclass(frozen=True)
class SharedPrefix:
    """Keys and values (1, heads, tokens, d_head) of the first blocks, for a prefix of `tokens` tokens."""

    tokens: int
    states: list[tuple[Tensor, Tensor]]
    config: Any

    @classmethod
    @torch.no_grad()
    def of(cls, model: LoadedModel, backbone: nn.Module, ids: NDArray[np.int32], *, layer: int) -> SharedPrefix | None:
        """None where the model's cache cannot be shared safely: not plain keys and values, or a narrow window."""
        cache = _empty(model.base.config)
        if cache is None or not _shareable(cache, layer, len(ids)):
            return None
        with captured(model, [layer], stop=True):
            backbone(input_ids=torch.from_numpy(ids.astype(np.int64))[None].to(model.device), cache=cache, use_cache=True)
        layers = [(part.keys, part.values) for part in cache.layers[:layer]]
        if any(keys is None or keys.ndim != 4 or keys.shape[0] != 1 or keys.shape[2] != len(ids) for keys, _ in layers):
            return None
        return cls(len(ids), layers, model.base.config)

    def cache(self, rows: int) -> Any:
        """A cache for a batch of `rows` prompts. The prefix is not copied: a growing cache allocates tensors of its own."""
        cache = _empty(self.config)
        for part, (keys, values) in zip(cache.layers, self.states, strict=False):
            part.lazy_initialization(keys, values)
            part.keys, part.values = keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)
            if part.is_sliding:
                part.cumulative_length = self.tokens
        return cache


@torch.no_grad()
def proven_prefix(model: LoadedModel, backbone: nn.Module, prompts: Sequence[Sequence[int]], *, layer: int) -> SharedPrefix | None:
    """The shared prefix of tokenised prompts up to block `layer`; None if it is short, or changes the states.

    A short, a medium and a long prompt are compared with and without it; the tolerance is CHANGED.
    """
    by_size = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    if len(prompts) < 2 or not prompts[by_size[0]]:
        return None
    tokens = common_prefix(TokenLists.of(prompts))
    if tokens < LEAST:
        return None
    prefix = SharedPrefix.of(model, backbone, np.asarray(prompts[0][:tokens], dtype=np.int32), layer=layer)
    if prefix is None:
        return None
    samples = [prompts[by_size[index]] for index in (0, len(by_size) // 2, -1)]
    plain = last_prompt_features(model, backbone, samples, layers=[layer])[:, 0]
    shared = last_prompt_features(model, backbone, samples, layers=[layer], prefix=prefix)[:, 0]
    alike = torch.nn.functional.cosine_similarity(plain, shared, dim=-1)
    return prefix if bool((alike > 1 - CHANGED[next(model.base.parameters()).dtype is torch.float32]).all()) else None


def _empty(config: Any) -> Any:
    from transformers import DynamicCache

    try:
        return DynamicCache(config=config)
    except (AttributeError, KeyError, TypeError, ValueError):  # an architecture without keys and values to keep
        return None


def _shareable(cache: Any, layer: int, tokens: int) -> bool:
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    kinds = [(type(part), getattr(part, "sliding_window", None)) for part in cache.layers[:layer]]
    plain = all(
        kind is DynamicLayer or (kind is DynamicSlidingWindowLayer and window is not None and tokens < window) for kind, window in kinds
    )
    return len(kinds) == layer and plain
