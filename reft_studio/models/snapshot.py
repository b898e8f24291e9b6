"""The state from which a training resumes bit-identically: weights, optimizer, random numbers, and the state of its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from reft_studio.errors import TrainingError

State = dict[str, Any]
"""Tensors and JSON values by name; names hold no dot."""


class Resumable(Protocol):
    """A part of a training with state: `restore` of what `state` returned brings it back."""

    def state(self) -> State: ...
    def restore(self, state: State) -> None: ...


@dataclass(frozen=True)
class Snapshot:
    """A training after optimizer step `step` (0: before the first). Names are `PART.NAME`."""

    step: int
    tensors: dict[str, Tensor]
    values: dict[str, Any]


class Keeper(Protocol):
    """Stores snapshots of one training; `training/checkpoint.py` has the one that writes to disk."""

    def newest(self) -> Snapshot | None:
        """The newest valid snapshot; None: start over."""
        ...

    def due(self) -> bool:
        """Whether enough time has passed for another snapshot to be worth its cost."""
        ...

    def save(self, snapshot: Snapshot) -> None:
        """Store it atomically."""
        ...


class NotFinite(TrainingError):
    """A loss, a gradient or a weight is not finite. Nothing of that step is kept.

    `rows`: positions of the user rows that caused it, as far as known.
    """

    rows: Sequence[int] = ()


KeeperFor = Callable[[str, Mapping[str, Any]], Keeper]
"""From the name of a training within its job, and the facts a snapshot must share with it to be resumed, to its keeper."""


class TrainingParts:
    """The parts of one training, saved and restored together."""

    def __init__(self, parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer, parts: Mapping[str, Resumable]) -> None:
        self._parameters, self._optimizer, self._parts = list(parameters), optimizer, parts
        self._device = self._parameters[0].device

    def snapshot(self, step: int) -> Snapshot:
        """The state after `step`. Tensors are the live ones: write or copy them before the next step.

        Raises NotFinite if a weight is not finite, so that no such snapshot is ever kept.
        """
        if not all(bool(torch.isfinite(value).all()) for value in self._parameters):
            raise NotFinite(f"After step {step} a weight of the adapter is not a finite number. Lower the learning rate.")
        tensors = {f"parameters.{index}": value.detach() for index, value in enumerate(self._parameters)}
        for index, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}-{name}": value for name, value in moments.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self._device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self._device)
        values: dict[str, Any] = {}
        for part, resumable in self._parts.items():
            for name, value in resumable.state().items():
                (tensors if isinstance(value, Tensor) else values)[f"{part}.{name}"] = value
        return Snapshot(step, tensors, values)

    @torch.no_grad()
    def restore(self, snapshot: Snapshot) -> None:
        """Restore the state of `snapshot`."""
        own = _of_part(snapshot, "parameters")
        for number, parameter in enumerate(self._parameters):
            parameter.copy_(own[str(number)])
        optimizer = self._optimizer.state_dict()
        for name, value in _of_part(snapshot, "optimizer").items():
            index, _, key = name.partition("-")
            optimizer["state"].setdefault(int(index), {})[key] = value
        self._optimizer.load_state_dict(optimizer)
        drawn = _of_part(snapshot, "random")
        torch.set_rng_state(drawn["cpu"])
        if "cuda" in drawn and self._device.type == "cuda":
            torch.cuda.set_rng_state(drawn["cuda"], self._device)
        for part, resumable in self._parts.items():
            resumable.restore(_of_part(snapshot, part))


def _of_part(snapshot: Snapshot, part: str) -> State:
    everything = {**snapshot.tensors, **snapshot.values}
    return {name.removeprefix(f"{part}."): value for name, value in everything.items() if name.startswith(f"{part}.")}
