"""The refusal feature: the direction in hidden space in which harmful prompts differ from harmless ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from reft_studio.errors import DataError, SpecError, StoreError


@dataclass(frozen=True)
class RefusalFeature:
    """R_l = mean harmful feature minus mean harmless feature, after block `layer` (from 1).

    direction: (d_model,) float32. Source: arXiv:2506.07356. `centre`: None, or the midpoint of the two means, (d_model,):
    the centred variant (ours) takes the cosine of R to a feature minus this midpoint.
    """

    direction: Tensor
    layer: int
    centre: Tensor | None = None

    @classmethod
    def between(cls, harmful: Tensor, harmless: Tensor, *, layer: int, centred: bool = False) -> RefusalFeature:
        """From features (n, d_model) of both kinds; means in float64. Raises DataError if a kind is missing."""
        if not len(harmful) or not len(harmless):
            raise DataError("A refusal feature needs at least one harmful and one harmless prompt.")
        means = harmful.double().mean(0), harmless.double().mean(0)
        return cls((means[0] - means[1]).float(), layer, (0.5 * (means[0] + means[1])).float() if centred else None)

    def centred(self, features: Tensor) -> Tensor:
        """Features (n, d_model) as float32, minus the midpoint in the centred variant. Raises SpecError for another width."""
        if features.shape[-1] != len(self.direction):
            raise SpecError(
                f"The model's hidden states have {features.shape[-1]} numbers, but the refusal feature has {len(self.direction)}: it was "
                "prepared on another base. Prepare a teacher for this model."
            )
        return features.float() if self.centre is None else features.float() - self.centre.to(features.device)

    def similarity(self, features: Tensor) -> Tensor:
        """(n, d_model) -> (n,): cosine to the refusal feature, in [-1, 1]; invariant to the scale of both."""
        return functional.cosine_similarity(self.centred(features), self.direction.to(features.device), dim=-1).clamp(-1, 1)

    def save(self, path: Path) -> None:
        tensors = {"direction": self.direction.contiguous()} | ({} if self.centre is None else {"centre": self.centre.contiguous()})
        save_file(tensors, path, metadata={"layer": str(self.layer)})

    @classmethod
    def load(cls, path: Path, *, layer: int) -> RefusalFeature:
        """Raises StoreError if the file is missing, damaged, not finite or of another layer."""
        name = f"{path.parent.name}/{path.name}"
        try:
            with safe_open(path, "pt") as file:
                found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no mapping: it has only `keys`
                stored = (file.metadata() or {}).get("layer", str(layer))
            direction, centre = found["direction"], found.get("centre")
        except (OSError, SafetensorError, KeyError) as exc:
            raise StoreError(f"{name} cannot be read. Prepare the teacher again.") from exc
        if direction.ndim != 1 or not torch.isfinite(direction).all():
            raise StoreError(f"{name} does not hold one finite direction. Prepare the teacher again.")
        if centre is not None and (centre.shape != direction.shape or not torch.isfinite(centre).all()):
            raise StoreError(f"{name} holds a centre that does not fit its direction. Prepare the teacher again.")
        if stored != str(layer):
            raise StoreError(f"{name} is of layer {stored[:10]}, but teacher.json names layer {layer}. Prepare the teacher again.")
        return cls(direction, layer, centre)


def regulariser(direction: Tensor, harmful: Tensor, harmless: Tensor, *, through: bool = False) -> Tensor:
    """mean(1 − cos(R, z_harmful)) + mean(1 + cos(R, z_harmless)), in [0, 4]; 0 when the kinds point opposite ways along R.

    R is a constant of the gradient unless `through` (an ablation); features are (n, d_model). That harmless features are
    driven to −1 is our reading of arXiv:2506.07356 (docs/methods.md).
    """
    fixed = direction if through else direction.detach()
    up = functional.cosine_similarity(harmful.float(), fixed, dim=-1)
    down = functional.cosine_similarity(harmless.float(), fixed, dim=-1)
    return (1 - up).mean() + (1 + down).mean()
