"""Hidden states of the last prompt token after a decoder block: the feature f^l(x) of arXiv:2506.07356."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from reft_studio.errors import SpecError
from reft_studio.models.batching import by_length
from reft_studio.models.loading import LoadedModel


class _Reached(Exception):
    """Leaves a forward pass once the wanted block has answered; no later block is computed."""


@contextmanager
def captured(model: LoadedModel, layers: Sequence[int], *, stop: bool = False) -> Iterator[dict[int, Tensor]]:
    """Collect the outputs (n, t, d_model) of blocks `layers` (counted from 1) during the forward passes inside.

    The raw block output is read, before the final norm. With `stop`, the pass ends after the deepest of them.
    """
    for layer in layers:
        if not 1 <= layer <= model.layers:
            raise SpecError(f"layer is {layer}, but '{model.source}' has decoder blocks 1 to {model.layers}.")
    found: dict[int, Tensor] = {}

    def hook(layer: int) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            found[layer] = output[0] if isinstance(output, tuple) else output
            if stop and layer == max(layers):
                raise _Reached

        return keep

    handles = [model.blocks[layer - 1].register_forward_hook(hook(layer)) for layer in layers]
    try:
        yield found
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def last_prompt_features(
    model: LoadedModel,
    backbone: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    layers: Sequence[int],
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Features of tokenised prompts: (n, len(layers), d_model), float32, on the CPU, in the order given.

    Prompts run in batches of like length, padded on the right; a causal model's state at the last prompt token depends
    neither on padding nor on a response, so scores do not depend on how rows are batched (to rounding).
    """
    width = int(model.base.config.get_text_config().hidden_size)
    features = torch.zeros(len(prompts), len(layers), width)
    done = 0
    for plan in by_length([len(prompt) for prompt in prompts]):
        longest = max(len(prompts[position]) for position in plan)
        ids = torch.full((len(plan), longest), model.pad_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, position in enumerate(plan):
            ids[row, : len(prompts[position])] = torch.tensor(prompts[position])
            mask[row, : len(prompts[position])] = 1
        last = torch.tensor([len(prompts[position]) - 1 for position in plan])
        with captured(model, layers, stop=True) as found:
            backbone(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False)
        for slot, layer in enumerate(layers):
            features[plan, slot] = found[layer][torch.arange(len(plan)), last].float().cpu()
        done += len(plan)
        progress(done)
    return features
