"""Reads or changes the outputs of blocks, attentions and MLPs during the passes of a step, row by row.

Rows are identified by their position in the batches, not in a pass, so that two passes may be laid out and split differently. Where
activations are recomputed in the backward pass, hooks run twice: they only record or add, with the same effect both times.
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
from reft_studio.models.joint_losses import Capture, States
from reft_studio.models.loading import LoadedModel

GUARD = 1e-7
"""Added to the norm of a gradient before division."""
Row = tuple[int, int]
"""A row of a step: number of the batch, position in it."""


def block_modules(model: LoadedModel, part: Literal["attention", "mlp"]) -> list[nn.Module]:
    """The attention, or the MLP, of each decoder block, in order, including adapters on it.

    Raises PrerequisiteError if a block has none.
    """
    modules = []
    for block, parts in zip(model.blocks, model.parts, strict=True):
        name = parts.attention if part == "attention" else parts.mlp
        if name is None:
            title = {"attention": "attention", "mlp": "MLP"}[part]
            raise PrerequisiteError(
                f"{type(model.base).__name__} has decoder blocks without an {title} whose states can be read, which this method needs. "
                "Choose a decoder-only model, such as of the families Llama, Gemma, Qwen, Mistral or Phi."
            )
        modules.append(block.get_submodule(name))
    return modules


@contextmanager
def hooked(modules: Sequence[nn.Module], change: Callable[[int, Tensor], Tensor | None]) -> Iterator[None]:
    """Call `change` with each module's number and output (…, d) in the passes inside; its result, unless None, replaces the output."""

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


def rows_of(forward: Pass, states: Tensor) -> dict[Row, Tensor]:
    """The states (…, d) of a pass by row, (tokens of the row, d), without padding."""
    flat = states.reshape(-1, states.shape[-1])
    return {row: flat[span] for row, span in zip(forward.rows, forward.layout.spans, strict=True)}


def squared_distances(states: States, began: States, modules: int) -> Tensor:
    """‖a − a₀‖² of the output of each module, summed over all tokens of all rows, (modules,) float32; states of `capture_outputs`."""
    squares: list[list[Tensor]] = [[] for _ in range(modules)]
    for key, start in began.items():
        number, _row = cast(tuple[int, Row], key)
        squares[number].append((states[key].float() - start.float()).square().sum())
    return torch.stack([torch.stack(of_module).sum() for of_module in squares])


def sample_indices(weights: Sequence[float], count: int) -> list[int]:
    """Sorted indices of `count` samples without replacement, with probabilities ∝ `weights`; all indices if there are fewer.

    Uses the training's random numbers.
    """
    if count >= len(weights):
        return list(range(len(weights)))
    least = max(max(weights), 1.0) * 1e-12  # a weight of nothing is drawn when the others are
    chances = torch.tensor([max(weight, least) for weight in weights], dtype=torch.float64)
    return sorted(int(index) for index in torch.multinomial(chances, count))


def capture_outputs(modules: Sequence[nn.Module], *, inputs_of: Sequence[nn.Module] = ()) -> Capture:
    """Captures the outputs of `modules`, and the inputs of those of `inputs_of`, by (number, row), each (tokens of the row, d).

    Modules are numbered in order, those of `inputs_of` last.
    """

    @contextmanager
    def capture(forward: Pass) -> Iterator[Callable[[], dict[Hashable, Tensor]]]:
        outputs: dict[int, Tensor] = {}

        def record(number: int, states: Tensor) -> None:
            outputs.setdefault(number, states)  # a recomputation comes second

        with hooked(modules, record), ExitStack() as hooks:
            for number, module in enumerate(inputs_of, len(modules)):
                hooks.callback(module.register_forward_pre_hook(partial(_record_input, record, number), with_kwargs=True).remove)
            yield lambda: {(number, row): value for number, states in outputs.items() for row, value in rows_of(forward, states).items()}

    return capture


def _record_input(record: Callable[[int, Tensor], None], number: int, _module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
    record(number, next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.is_floating_point()))


class OutputGradients:
    """The gradient of a loss with respect to module outputs, by row, to be added to the outputs in other passes over the same rows.

    `weight` is any trainable tensor.
    """

    def __init__(self, modules: Sequence[nn.Module], weight: Tensor) -> None:
        self.modules, self._weight = modules, weight
        self._gradients: dict[tuple[int, Row], Tensor] = {}

    @contextmanager
    def record(self, forward: Pass) -> Iterator[None]:
        """Around a forward and backward pass: record the gradients of its rows."""

        def watch(number: int, states: Tensor) -> Tensor | None:
            if not torch.is_grad_enabled():
                return None
            # what no trained weight reaches has no gradient on the way back, unless something ties it to one
            tied = None if states.requires_grad else states + 0 * self._weight.sum().to(states.dtype)
            (states if tied is None else tied).register_hook(lambda gradient: self._keep(number, forward, gradient))  # type: ignore[no-untyped-call]
            return tied

        with hooked(self.modules, watch):
            yield

    def norms(self) -> list[float]:
        """L2 norm of the gradient by module, over all rows."""
        squares: list[list[Tensor]] = [[] for _ in self.modules]
        for (number, _row), gradient in self._gradients.items():
            squares[number].append(gradient.float().square().sum())
        sums = torch.stack([torch.stack(of_module).sum() for of_module in squares])
        return [math.sqrt(value) for value in sums.tolist()]

    def norm(self) -> float:
        """L2 norm over all modules and rows."""
        return math.hypot(*self.norms())

    def perturb(self, length: float) -> Around:
        """Around passes: shift the outputs along the recorded gradients, by this L2 norm over all modules and rows."""
        scale = length / (self.norm() + GUARD)

        @contextmanager
        def around(forward: Pass) -> Iterator[None]:
            def move(number: int, states: Tensor) -> Tensor:
                step = torch.zeros_like(states.detach().reshape(-1, states.shape[-1]))
                for row, span in zip(forward.rows, forward.layout.spans, strict=True):
                    step[span] = scale * self._gradients[number, row]
                return states + step.view_as(states)

            with hooked(self.modules, move):
                yield

        return around

    def _keep(self, number: int, forward: Pass, gradient: Tensor) -> None:
        for row, values in rows_of(forward, gradient.detach()).items():
            self._gradients[number, row] = values.clone()
