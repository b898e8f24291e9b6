"""Temporarily merges an adapter into the weights; afterwards every bit is restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from reft_studio.models.adapters import AdaptedModel

SPARE = 2.0
"""Free memory required for copies of the changed weights, as a multiple of their size."""


def mergeable(adapted: AdaptedModel, name: str | None, *, layer: int) -> bool:
    """Whether the adapter can be merged into blocks 1 to `layer`: plain LoRA on float32 linear weights, and memory for copies.

    Not in half precision: updates smaller than half a step of the weight's grid would be rounded away, while the threshold was calibrated
    with the unrounded adapter.
    """
    if name is None:
        return False
    parts = _adapted_parts(adapted, name, layer)
    weights = [part.get_base_layer().weight for part in parts]
    plain = all(_is_plain(part, name) for part in parts)
    alone = len({weight.data_ptr() for weight in weights}) == len(weights)
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    return plain and alone and SPARE * size < psutil.virtual_memory().available


@contextmanager
@torch.no_grad()
def merged(adapted: AdaptedModel, name: str, *, layer: int) -> Iterator[nn.Module]:
    """The backbone with the adapter merged into blocks 1 to `layer`, for states up to there.

    W + (alpha / rank)·B·A in float32. The original weights are restored from copies, whatever happens: subtracting the product would round.
    """
    saved: list[tuple[Tensor, Tensor]] = []
    try:
        for part in _adapted_parts(adapted, name, layer):
            weight = part.get_base_layer().weight
            saved.append((weight, weight.detach().to("cpu", copy=True)))
            weight.add_(_update(part, name, like=weight))
        with adapted.active(None) as backbone:
            yield backbone
    finally:
        for weight, bits in saved:
            weight.copy_(bits)


def _adapted_parts(adapted: AdaptedModel, name: str, layer: int) -> list[Any]:
    blocks = adapted.model.blocks[:layer]
    return [part for block in blocks for part in block.modules() if name in getattr(part, "lora_A", ())]


def _is_plain(part: Any, name: str) -> bool:
    weight = part.get_base_layer().weight
    odd = getattr(part, "use_dora", {}).get(name) or getattr(part, "lora_bias", {}).get(name) or name in getattr(part, "lora_variant", ())
    return weight.ndim == 2 and weight.dtype == torch.float32 and not odd and not part.merged


def _update(part: Any, name: str, *, like: Tensor) -> Tensor:
    down, up = part.lora_A[name].weight.float(), part.lora_B[name].weight.float()
    update: Tensor = part.scaling[name] * (up @ down)
    return (update.T if part.fan_in_fan_out else update).to(like.device)
