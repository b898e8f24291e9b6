"""The gradient of one optimizer step, split into micro-batches that fit in memory, equal to that of the undivided batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from reft_studio.errors import TrainingError, is_out_of_memory
from reft_studio.models.batching import Batch
from reft_studio.models.fit import StepLog, cosine
from reft_studio.models.generation import free_memory
from reft_studio.models.loading import LoadedModel
from reft_studio.models.packing import PackedTokens, Packer
from reft_studio.models.supervised import supervise
from reft_studio.models.weights import Gradient, add_gradient

T = TypeVar("T")
Losses = Callable[..., dict[str, Tensor]]
"""From one `Supervised` per batch to named losses: sums over tokens divided by `total`, so that parts of a batch add up."""


@dataclass(frozen=True)
class Pass:
    """One forward pass of a step: the layout of its rows, and which rows they are, as (number of the batch, position in it), in order."""

    layout: PackedTokens
    rows: Sequence[tuple[int, int]]


Around = Callable[[Pass], AbstractContextManager[Any]]
"""Gives a context manager around each pass of a step, forward and backward: for hooks that read or change hidden states."""

CONFLICT = {"task", "alignment"}
"""Losses whose gradients are compared: the gradient conflict of arXiv:2506.07356."""


class MicroBatches:
    """The micro-batch size: as many rows at once as asked for, halved when memory runs out."""

    def __init__(self, rows: int | None = None, *, warn: Callable[[str], None] = lambda message: None) -> None:
        self.rows, self.warn = rows, warn

    def work(self, items: Sequence[T], do: Callable[[Sequence[T]], None]) -> None:
        """Call `do` on all items, one micro-batch at a time; one that runs out of memory is repeated in halves, and later ones are smaller.

        `do` must have no effect when it runs out of memory. Raises TrainingError when a single item does not fit.
        """
        done = 0
        while done < len(items):
            piece = items[done : done + (self.rows or len(items))]
            try:
                do(piece)
            except (RuntimeError, MemoryError) as exc:
                if not is_out_of_memory(exc):
                    raise
                if len(piece) == 1:
                    raise TrainingError(
                        "A single row does not fit into memory. Lower max_length, switch gradient_checkpointing on, or hold the base in "
                        "4 bits."
                    ) from exc
            else:
                done += len(piece)
                continue
            self._halve(len(piece))  # outside the handler, whose traceback would hold what the piece took

    def state(self) -> dict[str, int | None]:
        """The micro-batch size, for a snapshot: another size gives the same gradient except for its last digits."""
        return {"rows": self.rows}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue with this micro-batch size."""
        self.rows = state["rows"]

    def _halve(self, rows: int) -> None:
        self.rows = (rows + 1) // 2
        self.warn(f"Out of memory with {rows} rows at once; going on with {self.rows} at a time, which gives the same result more slowly.")
        free_memory()


class Accumulator:
    """Adds up the gradient of one step over its micro-batches, for those of the `parameters` that require one."""

    def __init__(
        self,
        model: LoadedModel,
        backbone: nn.Module,
        parameters: Sequence[Tensor],
        *,
        packer: Packer | None = None,
        pieces: MicroBatches | None = None,
    ) -> None:
        self.model, self.backbone, self._parameters = model, backbone, parameters
        self.packer, self.pieces = packer, pieces or MicroBatches()

    @property
    def parameters(self) -> list[Tensor]:
        """The parameters trained at the moment."""
        return [value for value in self._parameters if value.requires_grad]

    def learn(self, losses: Losses, batches: Sequence[Batch], *, conflict: bool = False, around: Around | None = None) -> StepLog:
        """Add the gradient of the summed `losses` to `.grad`; returns the losses and the number of tokens read.

        With `conflict` the gradients of `task` and `alignment` are computed separately and their cosine is logged.
        """
        gradient, line = self.gradient(losses, batches, conflict=conflict, around=around)
        add_gradient(self.parameters, gradient)
        return line

    def gradient(
        self, losses: Losses, batches: Sequence[Batch], *, conflict: bool = False, around: Around | None = None
    ) -> tuple[Gradient, StepLog]:
        """The gradient that `learn` would add, and its log line; `.grad` is not touched."""
        totals = [batch.supervised for batch in batches]
        logged: dict[str, Tensor] = {}
        gradients: dict[str, list[Tensor]] = {}

        def run_rows(rows: Sequence[tuple[int, int]]) -> None:
            parts = [batch.part([row for kind, row in rows if kind == number]) for number, batch in enumerate(batches)]
            with ExitStack() as wrapped:

                def before(layout: PackedTokens) -> None:
                    if around is not None:
                        wrapped.enter_context(around(Pass(layout, rows)))

                step_losses = losses(*supervise(self.model, self.backbone, parts, packer=self.packer, totals=totals, before=before))
                for name, gradient in self._gradients(step_losses, apart=conflict and step_losses.keys() == CONFLICT).items():
                    _add(gradients.setdefault(name, []), gradient)
            for name, loss in step_losses.items():
                logged[name] = logged[name] + loss.detach() if name in logged else loss.detach()

        self.pieces.work([(kind, row) for kind, batch in enumerate(batches) for row in range(len(batch))], run_rows)
        values = dict(zip(logged, torch.stack(list(logged.values())).tolist(), strict=True))
        line = {**values, "loss": sum(values.values()), "tokens": float(sum(batch.tokens for batch in batches))}
        if gradients.keys() == CONFLICT:
            line["grad_cosine"] = cosine(gradients["task"], gradients["alignment"])
        total: list[Tensor] = []
        for gradient in gradients.values():
            _add(total, gradient)
        return total, line

    def _gradients(self, losses: dict[str, Tensor], *, apart: bool) -> dict[str, list[Tensor]]:
        """The gradient of all losses together, or of each; `.grad` is not touched, so running out of memory has no effect."""
        groups = {name: [loss] for name, loss in losses.items()} if apart else {"all": list(losses.values())}
        gradients, remaining = {}, len(groups)
        for name, summands in groups.items():
            remaining -= 1
            # an expert of a mixture may see no token of a batch: its gradient is zero then
            gradients[name] = list(
                torch.autograd.grad(
                    summands,
                    self.parameters,
                    [torch.ones_like(value) for value in summands],
                    retain_graph=remaining > 0,
                    allow_unused=True,
                    materialize_grads=True,
                )
            )
        return gradients


def _add(total: list[Tensor], more: list[Tensor]) -> None:
    if total:
        torch._foreach_add_(total, more)
    else:
        total += more
