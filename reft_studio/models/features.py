"""Hidden states of the last prompt token after a decoder block: the feature f^l(x) of arXiv:2506.07356."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reft_studio.errors import SpecError
from reft_studio.models.architecture import first_output
from reft_studio.models.batching import by_length
from reft_studio.models.loading import LoadedModel

Tokens = Sequence[int] | NDArray[np.int32]


class PrefixLike(Protocol):
    """Keys and values of the tokens shared by all prompts (`models/prefix.py`)."""

    @property
    def tokens(self) -> int: ...

    def cache(self, rows: int) -> Any:
        """For a batch of `rows` prompts."""
        ...


class _Reached(Exception):
    """Ends a forward pass after the last wanted block, so that later blocks are not computed."""


@contextmanager
def captured(
    model: LoadedModel, layers: Sequence[int], *, stop: bool = False, take: Callable[[Tensor], Tensor] | None = None
) -> Iterator[dict[int, Tensor]]:
    """Collect the outputs (n, t, d_model) of blocks `layers` (counted from 1) during the forward passes inside.

    Outputs are read before the final norm. With `stop`, the pass ends after the deepest of them. Only the result of `take` is kept, so that
    the states of all blocks are never in memory together.
    """
    for layer in layers:
        if not 1 <= layer <= model.layers:
            raise SpecError(f"layer is {layer}, but '{model.source}' has decoder blocks 1 to {model.layers}.")
    outputs: dict[int, Tensor] = {}

    def hook(layer: int) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            states = first_output(output)
            outputs[layer] = states if take is None else take(states)
            if stop and layer == max(layers):
                raise _Reached

        return keep

    handles = [model.blocks[layer - 1].register_forward_hook(hook(layer)) for layer in layers]
    try:
        yield outputs
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def last_states(model: LoadedModel, backbone: nn.Module, prompts: Sequence[Tokens], *, layers: Sequence[int], cache: Any = None) -> Tensor:
    """States of the last token of each prompt after blocks `layers`: (n, len(layers), d_model), on the model's device and in its dtype.

    One batch, padded on the right. No mask is given: a causal model's token does not see the padding after it, and without a mask the
    kernels take their fast causal path. `cache` holds the keys and values of preceding tokens.
    """
    lengths = [len(prompt) for prompt in prompts]
    ids = np.full((len(prompts), max(lengths)), model.pad_id, dtype=np.int64)
    for row, prompt in enumerate(prompts):
        ids[row, : lengths[row]] = prompt
    with captured(model, layers, stop=True) as outputs:
        past = {} if cache is None else {"cache": cache}  # not every architecture knows the word
        backbone(input_ids=torch.from_numpy(ids).to(model.device), use_cache=cache is not None, **past)
    rows, last = torch.arange(len(prompts)), torch.tensor(lengths) - 1
    return torch.stack([outputs[layer][rows, last] for layer in layers], dim=1)


def last_prompt_features(
    model: LoadedModel,
    backbone: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    layers: Sequence[int],
    prefix: PrefixLike | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Features f^l(x) of tokenised prompts: (n, len(layers), d_model), float32, on the CPU, in the order given.

    Prompts run in batches of similar length; the state of a last prompt token depends neither on padding nor on a response,
    so features do not depend on the batching (to rounding). The tokens of `prefix`, shared by all prompts, are not recomputed.
    """
    width = int(model.base.config.get_text_config().hidden_size)
    features = torch.zeros(len(prompts), len(layers), width)
    done, shared = 0, prefix.tokens if prefix else 0
    for plan in by_length([len(prompt) - shared for prompt in prompts]):
        own = [prompts[position][shared:] for position in plan]
        cache = prefix.cache(len(plan)) if prefix else None
        features[plan] = last_states(model, backbone, own, layers=layers, cache=cache).float().cpu()
        done += len(plan)
        progress(done)
    return features


@torch.no_grad()
def token_states(model: LoadedModel, backbone: nn.Module, prompt: Tokens, *, layer: int) -> tuple[Tensor, Tensor]:
    """States of one prompt: of all tokens after block `layer` (t, d_model), and of the last token after every block (L, d_model).

    Both float32 on the CPU, from one forward pass.
    """
    layers = range(1, model.layers + 1)
    ids = torch.tensor([[int(one) for one in prompt]], device=model.device)
    with (
        captured(model, [layer], take=lambda states: states[0].float().cpu()) as whole,
        captured(model, layers, stop=True, take=lambda states: states[0, -1].float().cpu()) as last,
    ):
        backbone(input_ids=ids, use_cache=False)
    return whole[layer], torch.stack([last[one] for one in layers])


@torch.no_grad()
def tail_states(
    model: LoadedModel, backbone: nn.Module, prompts: Sequence[Tokens], *, tail: int, numbers: int = 64_000_000
) -> Iterator[tuple[list[int], Tensor]]:
    """By batch: positions in `prompts`, and the states of their last `tail` tokens after every block.

    (n, L, tail, d_model) float32 on the CPU, the last token first; NaN where a prompt is shorter. `numbers` bounds one batch, since
    for a large model the states of all prompts would not fit into memory.
    """
    layers, width = range(1, model.layers + 1), int(model.base.config.get_text_config().hidden_size)
    rows = max(1, min(256, numbers // (len(layers) * tail * width)))
    back = torch.arange(1, tail + 1)
    for plan in by_length([len(prompt) for prompt in prompts], max_rows=rows):
        lengths = torch.tensor([len(prompts[position]) for position in plan])
        ids = np.full((len(plan), int(lengths.max())), model.pad_id, dtype=np.int64)
        for row, position in enumerate(plan):
            ids[row, : len(prompts[position])] = prompts[position]
        at = lengths[:, None] - back
        short, row_of = at < 0, torch.arange(len(plan))[:, None]

        def take(states: Tensor, at: Tensor = at, short: Tensor = short, row_of: Tensor = row_of) -> Tensor:
            picked = states[row_of.to(states.device), at.clamp(min=0).to(states.device)].float().cpu()
            return picked.masked_fill(short[..., None], torch.nan)

        with captured(model, layers, stop=True, take=take) as outputs:
            backbone(input_ids=torch.from_numpy(ids).to(model.device), use_cache=False)
        yield plan, torch.stack([outputs[layer] for layer in layers], dim=1)
