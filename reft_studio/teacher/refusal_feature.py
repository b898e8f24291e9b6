"""The refusal feature: the direction in hidden space in which harmful prompts differ from harmless ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from reft_studio.errors import DataError, StoreError


@dataclass(frozen=True)
class RefusalFeature:
    """R_l = mean harmful feature minus mean harmless feature, after block `layer` (from 1).

    direction: (d_model,) float32. Source: arXiv:2506.07356.
    """

    direction: Tensor
    layer: int

    @classmethod
    def between(cls, harmful: Tensor, harmless: Tensor, *, layer: int) -> RefusalFeature:
        """From features (n, d_model) of both kinds; means in float64. Raises DataError if a kind is missing."""
        if not len(harmful) or not len(harmless):
            raise DataError("A refusal feature needs at least one harmful and one harmless prompt.")
        return cls((harmful.double().mean(0) - harmless.double().mean(0)).float(), layer)

    def similarity(self, features: Tensor) -> Tensor:
        """(n, d_model) -> (n,): cosine to the refusal feature, in [-1, 1]; invariant to the scale of both."""
        return functional.cosine_similarity(features.float(), self.direction, dim=-1).clamp(-1, 1)

    def save(self, path: Path) -> None:
        save_file({"direction": self.direction.contiguous()}, path, metadata={"layer": str(self.layer)})

    @classmethod
    def load(cls, path: Path, *, layer: int) -> RefusalFeature:
        """Raises StoreError if the file is missing, damaged or not finite."""
        try:
            direction = load_file(path)["direction"]
        except (OSError, SafetensorError, KeyError) as exc:
            raise StoreError(f"{path.parent.name}/{path.name} cannot be read. Prepare the teacher again.") from exc
        if direction.ndim != 1 or not torch.isfinite(direction).all():
            raise StoreError(f"{path.parent.name}/{path.name} does not hold one finite direction. Prepare the teacher again.")
        return cls(direction, layer)


def regulariser(direction: Tensor, harmful: Tensor, harmless: Tensor) -> Tensor:
    """mean(1 − cos(R, z_harmful)) + mean(1 + cos(R, z_harmless)), in [0, 4]; 0 when the kinds point opposite ways along R.

    R is a constant of the gradient; features are (n, d_model). That harmless features are driven to −1 is our reading of
    arXiv:2506.07356 (docs/methods.md).
    """
    fixed = direction.detach()
    up = functional.cosine_similarity(harmful.float(), fixed, dim=-1)
    down = functional.cosine_similarity(harmless.float(), fixed, dim=-1)
    return (1 - up).mean() + (1 + down).mean()
