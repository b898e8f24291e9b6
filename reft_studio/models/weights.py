"""The trainable weights of a training as one vector: copies, restores, steps along a gradient, pulls towards an anchor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

Gradient = list[Tensor]
"""One tensor for each trainable tensor, in their order and of their shapes."""

GUARD = 1e-7
"""Added to the norm of a gradient before it divides, as in the code of git-disl."""


def norm(gradient: Sequence[Tensor]) -> float:
    """The L2 norm over all tensors together."""
    return float(torch.stack([value.double().square().sum() for value in gradient]).sum().sqrt())


def add_gradient(parameters: Sequence[Tensor], gradient: Sequence[Tensor], scale: float = 1.0) -> None:
    """Add `scale` times a gradient to `.grad`."""
    for value, one in zip(parameters, gradient, strict=True):
        scaled = one if scale == 1.0 else one * scale
        value.grad = scaled.clone() if value.grad is None else value.grad.add_(scaled)


class Weights:
    """The trainable tensors of the adapter in training, (tensors of any shape), held in float32."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._all = list(parameters)

    @property
    def parameters(self) -> list[Tensor]:
        """Those that are trained now: all but inside `only`."""
        return [value for value in self._all if value.requires_grad]

    @contextmanager
    def only(self, chosen: Iterable[Tensor]) -> Iterator[None]:
        """Train those alone that are among `chosen`; the others get no gradient inside, so the optimizer passes over them in this step.

        What lies below the first of them keeps no activations.
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
        """A step of this length along a gradient; one without a length stays zero."""
        scale = length / (norm(gradient) + GUARD)
        return [value * scale for value in gradient]

    def copy(self) -> list[Tensor]:
        """Their values now."""
        return [value.detach().clone() for value in self.parameters]

    @torch.no_grad()
    def put(self, values: Sequence[Tensor]) -> None:
        """Set them, to the bit."""
        for value, new in zip(self.parameters, values, strict=True):
            value.copy_(new)

    def take(self) -> Gradient:
        """The gradient that was added up, which is gone from them: the optimizer passes over them in this step, decay included."""
        found = [torch.zeros_like(value) if value.grad is None else value.grad for value in self.parameters]
        for value in self.parameters:
            value.grad = None
        return found

    @torch.no_grad()
    def add(self, direction: Sequence[Tensor], scale: float = 1.0) -> None:
        """Step: w ← w + scale·direction, which may lie on another device, as what a checkpoint kept does."""
        torch._foreach_add_(self.parameters, [one.to(value) for value, one in zip(self.parameters, direction, strict=True)], alpha=scale)

    @contextmanager
    def moved(self, direction: Sequence[Tensor], scale: float) -> Iterator[None]:
        """Be at w + scale·direction inside; afterwards w to the bit, from a copy, since taking the step back would round."""
        kept = self.copy()
        try:
            self.add(direction, scale)
            yield
        finally:
            self.put(kept)

    def descend(self, penalty: Tensor) -> float:
        """Add the gradient of a function of the weights alone to `.grad`; returns its value. Once a step, whatever its memory pieces."""
        add_gradient(self.parameters, torch.autograd.grad(penalty, self.parameters, allow_unused=True, materialize_grads=True))
        return float(penalty.detach())

    @torch.no_grad()
    def pull(self, anchor: Sequence[Tensor], strength: float) -> float:
        """Add the gradient of (strength / 2)·‖w − anchor‖² to `.grad`; returns that value. Once a step, whatever its memory pieces."""
        apart = [value.detach() - fixed.to(value) for value, fixed in zip(self.parameters, anchor, strict=True)]
        add_gradient(self.parameters, apart, strength)
        return 0.5 * strength * norm(apart) ** 2
