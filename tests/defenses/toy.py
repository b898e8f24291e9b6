"""A training small enough to check by hand: two weight tensors, and for each kind of rows a smooth loss of them in closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from reft_studio.models.weights import Gradient, Weights, add_gradient

Loss = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Quadratic:
    """½ (w − centre)ᵀ H (w − centre) over all weights as one vector; H symmetric."""

    hessian: Tensor
    centre: Tensor

    def __call__(self, weights: Sequence[Tensor]) -> Tensor:
        apart = torch.cat([value.flatten() for value in weights]) - self.centre
        return 0.5 * apart @ self.hessian @ apart

    def gradient(self, w: Tensor) -> Tensor:
        """In closed form."""
        return self.hessian @ (w - self.centre)

    @classmethod
    def drawn(cls, seed: int, size: int = 5) -> Quadratic:
        rng = torch.Generator().manual_seed(seed)
        root = torch.randn(size, size, generator=rng, dtype=torch.float64)
        return cls(root @ root.T / size + torch.eye(size, dtype=torch.float64), torch.randn(size, generator=rng, dtype=torch.float64))


@dataclass
class ToyContext:
    """Implements what steps use of `RunContext`; a "batch" is the name of a loss. `passes` counts forwards, with their backwards."""

    losses: dict[str, Loss]
    steps: int = 10
    step: int = 1
    passes: int = 0
    parameters: list[Tensor] = field(default_factory=lambda: _start())

    def __post_init__(self) -> None:
        self.weights = Weights(self.parameters)

    def learn(self, losses: Any, *batches: str, around: Callable[..., AbstractContextManager[Any]] | None = None) -> dict[str, float]:
        gradient, line = self.gradient(losses, *batches, around=around)
        self.add(gradient)
        return line

    def gradient(self, losses: Any, *batches: str, around: Any = None) -> tuple[Gradient, dict[str, float]]:
        assert around is None, "inner states need a real model"
        self.passes += len(batches)
        found = losses(*[_Supervised(self.losses[name](self.parameters)) for name in batches])
        gradient = torch.autograd.grad(sum(found.values()), self.parameters)
        values = {name: float(value.detach()) for name, value in found.items()}
        return list(gradient), {**values, "loss": sum(values.values()), "tokens": 1.0}

    def add(self, gradient: Gradient, scale: float = 1.0) -> None:
        add_gradient(self.parameters, gradient, scale)

    def repeat_dropout(self) -> AbstractContextManager[None]:
        return nullcontext()

    def alignment_batch(self, *, guided: bool = False) -> str:
        return "alignment"

    def batch(self, kind: str, *, size: int | None = None) -> str:
        return kind

    def flat(self) -> Tensor:
        """The weights as one vector."""
        return torch.cat([value.detach().flatten() for value in self.parameters])

    def flat_gradient(self) -> Tensor:
        """What a step has added up, as one vector; `.grad` is emptied."""
        found = torch.cat([torch.zeros_like(value).flatten() if value.grad is None else value.grad.flatten() for value in self.parameters])
        for value in self.parameters:
            value.grad = None
        return found


@dataclass(frozen=True)
class _Supervised:
    loss: Tensor

    def cross_entropy(self) -> Tensor:
        return self.loss


def _start() -> list[Tensor]:
    rng = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True) for shape in ((2, 2), (1,))]
