"""Resets part of the change that training made to an adapter's matrices: by Wanda's scores, or at random.

Wanda (Sun et al., arXiv:2306.11695) scores an entry's importance for given inputs; DARE (Yu et al., arXiv:2311.03099) drops random
entries and rescales the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from reft_studio.models.accumulate import Pass
from reft_studio.models.low_rank import Layer
from reft_studio.models.module_outputs import rows_of


@dataclass
class InputSizes:
    """Per layer, the squared inputs of A and of B, summed over all tokens read: (inputs,) and (rank,), float32.

    `of` is empty until something was read; layers without a pass are not in it.
    """

    layers: Mapping[str, Layer]
    of: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @contextmanager
    def around(self, forward: Pass) -> Iterator[None]:
        """Around a pass: add the layers' inputs, without padding; nothing of a pass that fails."""
        sizes: dict[str, tuple[Tensor, Tensor]] = {}
        with ExitStack() as watched:
            for name, layer in self.layers.items():
                watched.enter_context(layer.watched(partial(self._see, sizes, forward, name)))
            yield
        for name, (down, up) in sizes.items():
            total = self.of.get(name)
            self.of[name] = (down, up) if total is None else (total[0] + down, total[1] + up)

    @torch.no_grad()
    def _see(self, sizes: dict[str, tuple[Tensor, Tensor]], forward: Pass, name: str, inputs: Tensor) -> None:
        # a layer that is shown some tokens only, such as an expert of a mixture, is not laid out in rows
        laid_out = inputs.shape[:-1].numel() == forward.layout.input_ids.numel()
        tokens = torch.cat(list(rows_of(forward, inputs).values())) if laid_out else inputs.reshape(-1, inputs.shape[-1])
        tokens = tokens.float()
        inner = tokens @ self.layers[name].down.float().T
        sizes[name] = tokens.square().sum(0), inner.square().sum(0)


@torch.no_grad()
def prune_largest(weight: Tensor, begun: Tensor, size: Tensor, ratio: float) -> None:
    """Reset the entries with the largest |weight − begun|·√size in each row of `weight` to `begun`: all but ⌊n·(1 − ratio)⌋ of n.

    weight, begun: (rows, n), size: (n,).
    """
    score = (weight - begun).abs() * size.sqrt()
    kept = int(score.shape[1] * (1 - ratio) + 1e-9)  # 10 · (1 − 0.9) is a little less than 1 in floating point
    pruned = score.sort(dim=1, stable=True).indices[:, kept:]
    weight.scatter_(1, pruned, begun.to(weight.dtype).gather(1, pruned))


@torch.no_grad()
def drop_and_rescale(weight: Tensor, begun: Tensor, share: float, *, seed: int) -> None:
    """Reset entries of `weight` to `begun` with probability `share`, and scale the change of the others by 1 / (1 − share): DARE."""
    drawn = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)).to(weight.device)
    weight.copy_(begun + (weight - begun) * (drawn >= share) / (1 - share))
