"""Inner states during the passes of a step: what blocks, attentions and MLPs answer is read, or changed, row by row.

Rows are known by their place in the batches, not in a pass, so that two passes may be laid out and split in different ways. Where
activations are recomputed on the way back, hooks run a second time: they only note or add, and do the same both times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from reft_studio.errors import PrerequisiteError
from reft_studio.models.accumulate import Around, Pass
from reft_studio.models.architecture import first_output
from reft_studio.models.joint_losses import States, StatesOf
from reft_studio.models.loading import LoadedModel

GUARD = 1e-7
"""Added to the norm of a gradient before it divides."""
Row = tuple[int, int]
"""A row of a step: number of the batch, place in it."""


def block_modules(model: LoadedModel, part: Literal["attention", "mlp"]) -> list[nn.Module]:
    """The attention, or the MLP, of each decoder block, in order, with the adapters that are on it.

    Raises PrerequisiteError if a block has none.
    """
    found = []
    for block, parts in zip(model.blocks, model.parts, strict=True):
        name = parts.attention if part == "attention" else parts.mlp
        if name is None:
            called = {"attention": "attention", "mlp": "MLP"}[part]
            raise PrerequisiteError(
                f"{type(model.base).__name__} has decoder blocks without an {called} whose states can be read, which this method needs. "
                "Choose a decoder-only model, such as of the families Llama, Gemma, Qwen, Mistral or Phi."
            )
        found.append(block.get_submodule(name))
    return found


@contextmanager
def hooked(modules: Sequence[nn.Module], change: Callable[[int, Tensor], Tensor | None]) -> Iterator[None]:
    """Show `change` what each module answers in the passes inside, with the module's number; what it returns, if anything, takes its place.

    Answers are as the module gives them, (…, d).
    """

    def hook(number: int) -> Callable[[nn.Module, Any, Any], Any]:
        def answered(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            changed = change(number, first_output(output))
            if changed is None or isinstance(output, Tensor):
                return changed
            return type(output)([changed, *output[1:]])

        return answered

    handles = [module.register_forward_hook(hook(number)) for number, module in enumerate(modules)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def rows_of(one: Pass, states: Tensor) -> dict[Row, Tensor]:
    """The states (…, d) of a pass by row, (tokens of the row, d); padding belongs to none."""
    flat = states.reshape(-1, states.shape[-1])
    return {row: flat[span] for row, span in zip(one.rows, one.layout.spans, strict=True)}


def moved(states: States, began: States, modules: int) -> Tensor:
    """‖a − a₀‖² of what each of so many modules answers, over all tokens of all rows, (modules,) float32; both as `answers` sees them."""
    squares: list[list[Tensor]] = [[] for _ in range(modules)]
    for key, start in began.items():
        number, _row = cast(tuple[int, Row], key)
        squares[number].append((states[key].float() - start.float()).square().sum())
    return torch.stack([torch.stack(of_module).sum() for of_module in squares])


def drawn(weights: Sequence[float], count: int) -> list[int]:
    """So many places, in order, drawn one after the other with chances by their weights among those that are left; all if there are fewer.

    The training's own random numbers decide.
    """
    if count >= len(weights):
        return list(range(len(weights)))
    least = max(max(weights), 1.0) * 1e-12  # a weight of nothing is drawn when the others are
    chances = torch.tensor([max(weight, least) for weight in weights], dtype=torch.float64)
    return sorted(int(place) for place in torch.multinomial(chances, count))


def answers(modules: Sequence[nn.Module], *, given: Sequence[nn.Module] = ()) -> StatesOf:
    """Sees what the modules answer, and what those of `given` are asked with, by (number, row), each (tokens of the row, d).

    Modules are numbered in order, those of `given` after the others.
    """

    @contextmanager
    def seen(one: Pass) -> Iterator[Callable[[], dict[Hashable, Tensor]]]:
        found: dict[int, Tensor] = {}

        def note(number: int, states: Tensor) -> None:
            found.setdefault(number, states)  # a recomputation comes second

        with hooked(modules, note), ExitStack() as asked:
            for number, module in enumerate(given, len(modules)):
                asked.callback(module.register_forward_pre_hook(partial(_note_given, note, number), with_kwargs=True).remove)
            yield lambda: {(number, row): value for number, states in found.items() for row, value in rows_of(one, states).items()}

    return seen


def _note_given(note: Callable[[int, Tensor], None], number: int, _module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
    note(number, next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.is_floating_point()))


class OutputGradients:
    """The gradient of a loss by what modules answer, kept by row, to be added to the answers in other passes over the same rows.

    `weight` is any trainable tensor.
    """

    def __init__(self, modules: Sequence[nn.Module], weight: Tensor) -> None:
        self.modules, self._weight = modules, weight
        self._found: dict[tuple[int, Row], Tensor] = {}

    @contextmanager
    def record(self, one: Pass) -> Iterator[None]:
        """Around a pass that goes forward and back: keep the gradients of its rows."""

        def watch(number: int, states: Tensor) -> Tensor | None:
            if not torch.is_grad_enabled():
                return None
            # what no trained weight reaches has no gradient on the way back, unless something ties it to one
            tied = None if states.requires_grad else states + 0 * self._weight.sum().to(states.dtype)
            (states if tied is None else tied).register_hook(lambda gradient: self._keep(number, one, gradient))  # type: ignore[no-untyped-call]
            return tied

        with hooked(self.modules, watch):
            yield

    def norms(self) -> list[float]:
        """The L2 norm of the gradients by each module's answers, over all rows."""
        squares: list[list[Tensor]] = [[] for _ in self.modules]
        for (number, _row), gradient in self._found.items():
            squares[number].append(gradient.float().square().sum())
        sums = torch.stack([torch.stack(of_module).sum() for of_module in squares])
        return [math.sqrt(value) for value in sums.tolist()]

    def norm(self) -> float:
        """The L2 norm over all modules and rows."""
        return math.hypot(*self.norms())

    def adding(self, length: float) -> Around:
        """Around passes: the modules' answers moved along the gradients, by vectors of this L2 norm over all modules and rows together."""
        scale = length / (self.norm() + GUARD)

        @contextmanager
        def around(one: Pass) -> Iterator[None]:
            def move(number: int, states: Tensor) -> Tensor:
                step = torch.zeros_like(states.detach().reshape(-1, states.shape[-1]))
                for row, span in zip(one.rows, one.layout.spans, strict=True):
                    step[span] = scale * self._found[number, row]
                return states + step.view_as(states)

            with hooked(self.modules, move):
                yield

        return around

    def _keep(self, number: int, one: Pass, gradient: Tensor) -> None:
        for row, found in rows_of(one, gradient.detach()).items():
            self._found[number, row] = found.clone()
