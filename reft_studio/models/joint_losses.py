"""Losses of inner states that are no sums over rows, such as a gate on a whole batch or a kernel between its rows, exact in pieces too."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from reft_studio.models.accumulate import Around, Pass

States = Mapping[Hashable, Tensor]
"""Inner states by what they are and the row they are of."""
StatesOf = Callable[[Pass], AbstractContextManager[Callable[[], dict[Hashable, Tensor]]]]
"""Around a pass; what it gives is called after the model has gone forward, and answers with the states of the pass's rows."""
StatesLosses = Callable[[States], dict[str, Tensor]]
"""From the states of all rows of a batch to named losses."""


def keeping(seen: StatesOf, found: dict[Hashable, Tensor]) -> Around:
    """Around passes: put what `seen` sees into `found`, as constants."""

    @contextmanager
    def around(one: Pass) -> Iterator[None]:
        with seen(one) as states:
            yield
            found.update({key: value.detach().clone() for key, value in states().items()})

    return around


class Joint:
    """Losses of the states of all rows of one batch, in the passes of one step.

    Where one pass holds all rows, they are computed there. Else `read` shows the states of all rows first, without a gradient; the losses
    and their gradient by the states follow from those, and each pass carries the share of its rows as the product of both.
    """

    def __init__(self, rows: int, seen: StatesOf, losses: StatesLosses, read: Callable[[Around], None]) -> None:
        self._rows, self._seen, self._losses, self._read = rows, seen, losses, read
        self._known: tuple[dict[str, Tensor], dict[Hashable, Tensor]] | None = None

    @contextmanager
    def around(self, one: Pass) -> Iterator[None]:
        """Around each pass of the step."""
        if len(one.rows) < self._rows and self._known is None:
            self._known = self._read_all()
        with self._seen(one) as states:
            self._pass, self._states = one, states
            yield

    def share(self) -> dict[str, Tensor]:
        """The losses of the pass that has just gone forward; over all passes their sums, and those of their gradients, are the batch's."""
        states = self._states()
        if self._known is None:
            return self._losses(states)
        values, gradients = self._known
        carried = torch.stack([(value.float() * gradients[key]).sum() for key, value in states.items()]).sum() / len(values)
        carried = carried - carried.detach()  # a gradient without a value
        first = self._pass.rows[0] == (0, 0)
        return {name: carried + (value if first else 0.0) for name, value in values.items()}

    def _read_all(self) -> tuple[dict[str, Tensor], dict[Hashable, Tensor]]:
        """The losses, and their gradient by the states of all rows."""
        found: dict[Hashable, Tensor] = {}
        self._read(keeping(self._seen, found))
        with torch.enable_grad():
            leaves = {key: value.requires_grad_() for key, value in found.items()}
            losses = self._losses(leaves)
            gradients = torch.autograd.grad(
                torch.stack(list(losses.values())).sum(), list(leaves.values()), allow_unused=True, materialize_grads=True
            )
        return {name: value.detach() for name, value in losses.items()}, dict(zip(leaves, gradients, strict=True))
