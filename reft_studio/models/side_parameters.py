"""What a method learns beside the adapter: tensors with an optimizer of their own, which checkpoints keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

LONGEST = 1.0
"""L2 norm to which a gradient is cut, as both the trainer of transformers and DeepSpeed do where nothing else is said."""


class SideParameters:
    """Tensors, float32, and AdamW without weight decay; `values` begin as copies of those given."""

    def __init__(self, values: Sequence[Tensor], *, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.values = [value.detach().clone().requires_grad_() for value in values]
        self._optimizer = torch.optim.AdamW(self.values, betas=betas, weight_decay=0.0)

    def step(self, gradient: Sequence[Tensor], *, learning_rate: float) -> None:
        """One step down a gradient, a tensor for each of `values`."""
        for value, one in zip(self.values, gradient, strict=True):
            value.grad = one.detach().clone()
        torch.nn.utils.clip_grad_norm_(self.values, LONGEST)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """Values and moments by `NAME-PLACE`, for a snapshot."""
        moments = self._optimizer.state_dict()["state"]
        found = {f"{name}-{place}": value for place, kept in moments.items() for name, value in kept.items()}
        return {**{f"value-{place}": value.detach() for place, value in enumerate(self.values)}, **found}

    @classmethod
    def of(cls, state: dict[str, Any], *, device: torch.device | str, betas: tuple[float, float] = (0.9, 0.999)) -> SideParameters:
        """As when `state` was taken."""
        kept: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            name, _, place = key.rpartition("-")
            kept.setdefault(int(place), {})[name] = value
        found = cls([kept[place].pop("value").to(device) for place in sorted(kept)], betas=betas)
        if any(kept.values()):
            found._optimizer.load_state_dict({"state": kept, "param_groups": found._optimizer.state_dict()["param_groups"]})
        return found
