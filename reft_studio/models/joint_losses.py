"""Losses of hidden states that are no sums over rows, such as a kernel between rows; exact in micro-batches too."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from reft_studio.models.accumulate import Around, Pass

States = Mapping[Hashable, Tensor]
"""Hidden states by what they are and the row they are of."""
Capture = Callable[[Pass], AbstractContextManager[Callable[[], dict[Hashable, Tensor]]]]
"""A context around a pass; yields a function that returns, after the forward pass, the states of its rows."""
StatesLosses = Callable[[States], dict[str, Tensor]]
"""From the states of all rows of a batch to named losses."""


def capture_into(capture: Capture, into: dict[Hashable, Tensor]) -> Around:
    """Around passes: put detached copies of the states that `capture` records into `into`."""

    @contextmanager
    def around(forward: Pass) -> Iterator[None]:
        with capture(forward) as states:
            yield
            into.update({key: value.detach().clone() for key, value in states().items()})

    return around


class Joint:
    """Losses of the states of all rows of one batch, in the passes of one step.

    Where one pass holds all rows, they are computed there. Else `read` first captures the states of all rows without a gradient; losses and
    their gradient with respect to the states follow, and each pass contributes the product of its states with that gradient.
    """

    def __init__(self, rows: int, capture: Capture, losses: StatesLosses, read: Callable[[Around], None]) -> None:
        self._rows, self._capture, self._losses, self._read = rows, capture, losses, read
        self._known: tuple[dict[str, Tensor], dict[Hashable, Tensor]] | None = None

    @contextmanager
    def around(self, forward: Pass) -> Iterator[None]:
        """Around each pass of the step."""
        if len(forward.rows) < self._rows and self._known is None:
            self._known = self._read_all()
        with self._capture(forward) as states:
            self._pass, self._states = forward, states
            yield

    def share(self) -> dict[str, Tensor]:
        """The contribution of the last forward pass; summed over all passes, values and gradients are those of the batch."""
        states = self._states()
        if self._known is None:
            return self._losses(states)
        values, gradients = self._known
        carried = torch.stack([(value.float() * gradients[key]).sum() for key, value in states.items()]).sum() / len(values)
        carried = carried - carried.detach()  # a gradient without a value
        first = self._pass.rows[0] == (0, 0)
        return {name: carried + (value if first else 0.0) for name, value in values.items()}

    def _read_all(self) -> tuple[dict[str, Tensor], dict[Hashable, Tensor]]:
        """The losses, and their gradient with respect to the states of all rows."""
        all_states: dict[Hashable, Tensor] = {}
        self._read(capture_into(self._capture, all_states))
        with torch.enable_grad():
            leaves = {key: value.requires_grad_() for key, value in all_states.items()}
            losses = self._losses(leaves)
            gradients = torch.autograd.grad(
                torch.stack(list(losses.values())).sum(), list(leaves.values()), allow_unused=True, materialize_grads=True
            )
        return {name: value.detach() for name, value in losses.items()}, dict(zip(leaves, gradients, strict=True))
