"""Parameters that a method trains in addition to the adapter, with their own optimizer; kept in checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

LONGEST = 1.0
"""L2 norm that gradients are clipped to, the default of both transformers' trainer and DeepSpeed."""


class SideParameters:
    """float32 tensors with AdamW without weight decay; `values` start as copies of the given ones."""

    def __init__(self, values: Sequence[Tensor], *, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.values = [value.detach().clone().requires_grad_() for value in values]
        self._optimizer = torch.optim.AdamW(self.values, betas=betas, weight_decay=0.0)

    def step(self, gradient: Sequence[Tensor], *, learning_rate: float) -> None:
        """One optimizer step along −gradient, a tensor for each of `values`."""
        for value, value_gradient in zip(self.values, gradient, strict=True):
            value.grad = value_gradient.detach().clone()
        torch.nn.utils.clip_grad_norm_(self.values, LONGEST)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """Values and moments by `NAME-INDEX`, for a snapshot."""
        moments = self._optimizer.state_dict()["state"]
        moments_by_name = {f"{name}-{index}": value for index, moments_of in moments.items() for name, value in moments_of.items()}
        return {**{f"value-{index}": value.detach() for index, value in enumerate(self.values)}, **moments_by_name}

    @classmethod
    def of(cls, state: dict[str, Any], *, device: torch.device | str, betas: tuple[float, float] = (0.9, 0.999)) -> SideParameters:
        """Restored from a snapshot's `state`."""
        by_index: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            name, _, index = key.rpartition("-")
            by_index.setdefault(int(index), {})[name] = value
        parameters = cls([by_index[index].pop("value").to(device) for index in sorted(by_index)], betas=betas)
        if any(by_index.values()):
            parameters._optimizer.load_state_dict({"state": by_index, "param_groups": parameters._optimizer.state_dict()["param_groups"]})
        return parameters
