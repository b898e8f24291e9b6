"""The trainable weights as one vector: copies, restores, steps along a gradient, penalties."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

Gradient = list[Tensor]
"""One tensor per trainable tensor, in their order and shapes."""

GUARD = 1e-7
"""Added to the norm of a gradient before division, as in the code of git-disl."""


def norm(gradient: Sequence[Tensor]) -> float:
    """The L2 norm over all tensors together."""
    return float(torch.stack([value.double().square().sum() for value in gradient]).sum().sqrt())


def add_gradient(parameters: Sequence[Tensor], gradient: Sequence[Tensor], scale: float = 1.0) -> None:
    """Add `scale` times a gradient to `.grad`."""
    for value, value_gradient in zip(parameters, gradient, strict=True):
        scaled = value_gradient if scale == 1.0 else value_gradient * scale
        value.grad = scaled.clone() if value.grad is None else value.grad.add_(scaled)


class Weights:
    """The trainable tensors of the adapter in training, of any shape, in float32."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._all = list(parameters)

    @property
    def parameters(self) -> list[Tensor]:
        """The tensors trained at the moment: all except inside `only`."""
        return [value for value in self._all if value.requires_grad]

    @contextmanager
    def only(self, chosen: Iterable[Tensor]) -> Iterator[None]:
        """Train only those among `chosen`; the others get no gradient inside, so the optimizer skips them in this step.

        Blocks below the first of them keep no activations.
        """
        wanted = {id(value) for value in chosen}
        frozen = [value for value in self.parameters if id(value) not in wanted]
        try:
            for value in frozen:
                value.requires_grad_(False)
            yield
        finally:
            for value in frozen:
                value.requires_grad_(True)

    @staticmethod
    def norm(gradient: Sequence[Tensor]) -> float:
        """The L2 norm of a gradient, over all tensors together."""
        return norm(gradient)

    @staticmethod
    def of_length(gradient: Sequence[Tensor], length: float) -> Gradient:
        """A step of this L2 length along a gradient; zero for a zero gradient."""
        scale = length / (norm(gradient) + GUARD)
        return [value * scale for value in gradient]

    def copy(self) -> list[Tensor]:
        """Copies of the current values."""
        return [value.detach().clone() for value in self.parameters]

    @torch.no_grad()
    def restore(self, values: Sequence[Tensor]) -> None:
        """Restore values, bit-identically."""
        for value, new in zip(self.parameters, values, strict=True):
            value.copy_(new)

    def take_gradient(self) -> Gradient:
        """Remove and return the accumulated gradient: the optimizer skips these tensors in this step, weight decay included."""
        gradient = [torch.zeros_like(value) if value.grad is None else value.grad for value in self.parameters]
        for value in self.parameters:
            value.grad = None
        return gradient

    @torch.no_grad()
    def add(self, direction: Sequence[Tensor], scale: float = 1.0) -> None:
        """W ← w + scale·direction; the direction may be on another device, as after loading a checkpoint."""
        torch._foreach_add_(self.parameters, [step.to(value) for value, step in zip(self.parameters, direction, strict=True)], alpha=scale)

    @contextmanager
    def moved(self, direction: Sequence[Tensor], scale: float) -> Iterator[None]:
        """W + scale·direction inside; afterwards w is restored from a copy, since subtracting would round."""
        saved = self.copy()
        try:
            self.add(direction, scale)
            yield
        finally:
            self.restore(saved)

    def descend(self, penalty: Tensor) -> float:
        """Add the gradient of a function of the weights alone to `.grad`; returns its value. Call once a step, not per micro-batch."""
        add_gradient(self.parameters, torch.autograd.grad(penalty, self.parameters, allow_unused=True, materialize_grads=True))
        return float(penalty.detach())

    @torch.no_grad()
    def pull(self, anchor: Sequence[Tensor], strength: float) -> float:
        """Add the gradient of (strength / 2)·‖w − anchor‖² to `.grad`; returns that value. Call once a step, not per micro-batch."""
        apart = [value.detach() - fixed.to(value) for value, fixed in zip(self.parameters, anchor, strict=True)]
        add_gradient(self.parameters, apart, strength)
        return 0.5 * strength * norm(apart) ** 2
