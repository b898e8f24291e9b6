"""Low-rank updates of linear layers, and the adapted layers of a model as post-hoc methods edit them.

Updates are added, scaled and projected as products: A₁ + A₂ and B₁ + B₂ would mix them (docs/methods.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reft_studio.models.adapters import AdaptedModel
from reft_studio.models.spec import LoraSpec


@dataclass(frozen=True)
class LowRank:
    """up @ down, float32: up (outputs, rank), down (rank, inputs)."""

    up: Tensor
    down: Tensor

    @property
    def rank(self) -> int:
        return len(self.down)

    def dense(self) -> Tensor:
        """The product, (outputs, inputs)."""
        return self.up @ self.down

    def __add__(self, other: LowRank) -> LowRank:
        """The exact sum; ranks add up."""
        return LowRank(torch.cat([self.up, other.up], dim=1), torch.cat([self.down, other.down]))

    def __mul__(self, scale: float) -> LowRank:
        return LowRank(self.up * scale, self.down)

    __rmul__ = __mul__

    def __neg__(self) -> LowRank:
        return self * -1.0

    def __sub__(self, other: LowRank) -> LowRank:
        return self + -other

    def inner(self, other: LowRank) -> float:
        """The inner product of both updates, without computing either: tr((U₁ᵀU₂)(D₂D₁ᵀ))."""
        return float(((self.up.T @ other.up) * (self.down @ other.down.T)).sum())

    def norm(self) -> float:
        """The Frobenius norm."""
        return math.sqrt(max(self.inner(self), 0.0))

    def compact(self) -> LowRank:
        """The same update as U·√σ and √σ·Vᵀ of its singular values, without vanishing ones."""
        outputs, inputs = torch.linalg.qr(self.up), torch.linalg.qr(self.down.T)
        left, values, right = torch.linalg.svd(outputs.R @ inputs.R.T, full_matrices=False)
        kept = values > 1e-6 * values.max()
        root = values[kept].sqrt()
        return LowRank(outputs.Q @ left[:, kept] * root, (root[:, None] * right[kept]) @ inputs.Q.T)

    def padded(self, rank: int) -> LowRank:
        """The same update padded with zeros to this rank."""
        more = rank - self.rank
        return LowRank(torch.nn.functional.pad(self.up, (0, more)), torch.nn.functional.pad(self.down, (0, 0, 0, more)))


class Layer:
    """One adapted linear layer, during or after training. Weights are W + start + update, where W is the base's.

    `up` (outputs, rank) and `down` (rank, inputs) are B and A of the trained adapter, without its scale; they may be changed in
    place. `start` is the update that training started from, None: the base; `update` is the change made by training; `continues` names the
    adapter whose weights it continued, None: it was fresh.
    """

    def __init__(self, name: str, part: Any, adapter: str, *, start: LowRank | None = None, continues: str | None = None) -> None:
        self.name, self.start, self._part, self._adapter, self._continues = name, start, part, adapter, continues
        self.replaced: LowRank | None = None

    @property
    def base(self) -> Tensor:
        """W of the base, (outputs, inputs)."""
        layer = self._part.get_base_layer()
        weight: Tensor = layer.weight.detach()
        return weight.T if self._part.fan_in_fan_out else weight

    @property
    def up(self) -> Tensor:
        value: Tensor = self._part.lora_B[self._adapter].weight
        return value

    @property
    def down(self) -> Tensor:
        value: Tensor = self._part.lora_A[self._adapter].weight
        return value

    @property
    def fresh(self) -> bool:
        """Whether the adapter continued no other."""
        return self._continues is None

    @property
    def begun(self) -> tuple[Tensor, Tensor]:
        """B and A of the continued adapter; zeros for a fresh one, whose initial A was random and contributed nothing."""
        if self._continues is None:
            return torch.zeros_like(self.up), torch.zeros_like(self.down)
        return self._part.lora_B[self._continues].weight, self._part.lora_A[self._continues].weight

    @contextmanager
    def watched(self, see: Callable[[Tensor], None]) -> Iterator[None]:
        """Call `see` with the layer's inputs (…, inputs) in the passes inside."""
        handle = self._part.register_forward_pre_hook(lambda _part, inputs: see(inputs[0]))
        try:
            yield
        finally:
            handle.remove()

    @property
    def scale(self) -> float:
        """The update is scale · up @ down."""
        return float(self._part.scaling[self._adapter])

    @property
    def change(self) -> LowRank:
        """The change made by training so far, without its scale; differentiable with respect to the trained tensors.

        (B − B₀)·A + B₀·(A − A₀) is exactly zero at the start of a continued adapter, which the difference of the two products is not.
        """
        up, down = self.up.float(), self.down.float()
        if self._continues is None:
            return LowRank(up, down)
        up_before, down_before = (value.detach().float() for value in self.begun)
        return LowRank(torch.cat([up - up_before, up_before], dim=1), torch.cat([down, down - down_before]))

    @property
    def own(self) -> LowRank:
        """The update of the trained adapter, scale included."""
        return LowRank(self.up.detach().float() * self.scale, self.down.detach().float().clone())

    @property
    def update(self) -> LowRank:
        """The change made by training: the adapter itself if fresh, else the difference to the weights it continued."""
        change = self.change
        return LowRank(change.up.detach() * self.scale, change.down.detach().clone())

    @property
    def total(self) -> LowRank:
        """The full difference to the base: `start` plus `update`."""
        if self.replaced is not None:
            return self.replaced
        return self.own if self._continues is not None or self.start is None else self.start + self.own

    def replace(self, total: LowRank) -> None:
        """Set the full difference to the base."""
        self.replaced = total


class Layers(Mapping[str, Layer]):
    """The adapted layers of a model by name, in the order of the model."""

    def __init__(self, adapted: AdaptedModel, adapter: str, *, start: str | None = None, continued: bool = False) -> None:
        self._adapted, self.adapter = adapted, adapter
        self._joined = start is not None and not continued
        self._begun = low_rank(adapted, start) if start is not None else {}
        continues = start if continued else None
        self._layers = {
            name: Layer(name, part, adapter, start=self._begun.get(name), continues=continues)
            for name, part in adapted.parts(adapter).items()
        }

    def __getitem__(self, name: str) -> Layer:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def of(self, adapter: str) -> dict[str, LowRank]:
        """The update of another adapter alone, such as one from a stage."""
        return low_rank(self._adapted, adapter)

    def settle(self) -> None:
        """Write replaced updates, and those of the adapters a fresh one was trained on top of, into the adapter itself.

        This includes layers that only the lower adapter has. An adapter that continued others and was not replaced stays bit-identical.
        """
        if self._joined or any(layer.replaced is not None for layer in self._layers.values()):
            write(self._adapted, self.adapter, {**self._begun, **{name: layer.total for name, layer in self._layers.items()}})


def low_rank(adapted: AdaptedModel, adapter: str) -> dict[str, LowRank]:
    """The update of an adapter per layer, scale included."""
    return {name: Layer(name, part, adapter).own for name, part in adapted.parts(adapter).items()}


@torch.no_grad()
def write(adapted: AdaptedModel, adapter: str, updates: Mapping[str, LowRank]) -> None:
    """Replace `adapter` by one with these updates: of the largest of their ranks, scale 1."""
    rank = max(update.rank for update in updates.values())
    # unchecked: ranks that add up may go beyond what a person may ask for
    adapted.add(adapter, LoraSpec.model_construct(rank=rank, alpha=rank, targets=tuple(updates)), seed=0)
    for name, part in adapted.parts(adapter).items():
        update = updates[name].padded(rank)
        part.lora_B[adapter].weight.copy_(update.up)
        part.lora_A[adapter].weight.copy_(update.down)
