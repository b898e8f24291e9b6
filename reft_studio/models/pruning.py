"""Taking back part of what training changed in the matrices of an adapter: by Wanda's scores, or by chance.

Wanda (Sun et al., arXiv:2306.11695) scores how much an entry matters to what the matrix is read with; DARE (Yu et al., arXiv:2311.03099)
drops entries by chance and scales up the rest.
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
    """Of each layer, the squares of what goes into A and into B, summed over all tokens read, by entry: (inputs,) and (rank,), float32.

    `of` is empty until something was read; layers that no pass went through are not in it.
    """

    layers: Mapping[str, Layer]
    of: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @contextmanager
    def around(self, one: Pass) -> Iterator[None]:
        """Around a pass: take in what goes into the layers in it, without padding; nothing of a pass that fails."""
        found: dict[str, tuple[Tensor, Tensor]] = {}
        with ExitStack() as watched:
            for name, layer in self.layers.items():
                watched.enter_context(layer.watched(partial(self._see, found, one, name)))
            yield
        for name, (down, up) in found.items():
            before = self.of.get(name)
            self.of[name] = (down, up) if before is None else (before[0] + down, before[1] + up)

    @torch.no_grad()
    def _see(self, found: dict[str, tuple[Tensor, Tensor]], one: Pass, name: str, inputs: Tensor) -> None:
        # a layer that is shown some tokens only, such as an expert of a mixture, is not laid out in rows
        laid_out = inputs.shape[:-1].numel() == one.layout.input_ids.numel()
        tokens = torch.cat(list(rows_of(one, inputs).values())) if laid_out else inputs.reshape(-1, inputs.shape[-1])
        tokens = tokens.float()
        inner = tokens @ self.layers[name].down.float().T
        found[name] = tokens.square().sum(0), inner.square().sum(0)


@torch.no_grad()
def prune_largest(weight: Tensor, begun: Tensor, size: Tensor, ratio: float) -> None:
    """Set the entries of each row of `weight` whose |weight − begun|·√size is largest back to `begun`: all but ⌊n·(1 − ratio)⌋ of n.

    weight, begun: (rows, n), size: (n,).
    """
    score = (weight - begun).abs() * size.sqrt()
    kept = int(score.shape[1] * (1 - ratio) + 1e-9)  # 10 · (1 − 0.9) is a little less than 1 in floating point
    places = score.sort(dim=1, stable=True).indices[:, kept:]
    weight.scatter_(1, places, begun.to(weight.dtype).gather(1, places))


@torch.no_grad()
def drop_and_rescale(weight: Tensor, begun: Tensor, share: float, *, seed: int) -> None:
    """Set entries of `weight` back to `begun` with chance `share`, and scale the change of the others by 1 / (1 − share): DARE."""
    drawn = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)).to(weight.device)
    weight.copy_(begun + (weight - begun) * (drawn >= share) / (1 - share))
