"""The refusal feature: the direction in hidden space from harmless to harmful prompts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from reft_studio.errors import DataError, SpecError, StoreError
from reft_studio.teacher.spec import Reading

SHRINKAGE = 0.3
"""Weight of the mean variance in every variance of `discriminant`. Between 0.1 and 0.3 held-out sets were separated equally well."""
SATURATION = 0.95
"""Similarity at the 99 % quantile in the whitened reading."""


@dataclass(frozen=True)
class RefusalFeature:
    """R_l = mean harmful feature minus mean harmless feature, after block `layer` (from 1), and how features are compared with it.

    direction: (d_model,) float32. Source: arXiv:2506.07356. Two readings of ours: `centre` (d_model,), the midpoint of the two
    means, is subtracted from a feature before the cosine; with `weight` (d_model,) as well the similarity is that of `discriminant`.
    """

    direction: Tensor
    layer: int
    centre: Tensor | None = None
    weight: Tensor | None = None

    @classmethod
    def between(cls, harmful: Tensor, harmless: Tensor, *, layer: int, reading: Reading = "raw") -> RefusalFeature:
        """From features (n, d_model) of both kinds; means in float64. Raises DataError if a kind is missing."""
        if not len(harmful) or not len(harmless):
            raise DataError("A refusal feature needs at least one harmful and one harmless prompt.")
        means = harmful.double().mean(0), harmless.double().mean(0)
        direction, midpoint = (means[0] - means[1]).float(), (0.5 * (means[0] + means[1])).float()
        if reading == "raw":
            return cls(direction, layer)
        return cls(direction, layer, midpoint, discriminant(harmful, harmless) if reading == "whitened" else None)

    @property
    def reading(self) -> Reading:
        return "whitened" if self.weight is not None else "raw" if self.centre is None else "centred"

    def coordinates(self, features: Tensor) -> Tensor:
        """Features (n, d_model) as float32, minus the centre. Raises SpecError for another width."""
        if features.shape[-1] != len(self.direction):
            raise SpecError(
                f"The model's hidden states have {features.shape[-1]} numbers, but the refusal feature has {len(self.direction)}: it was "
                "prepared on another base. Prepare a teacher for this model."
            )
        return features.float() if self.centre is None else features.float() - self.centre.to(features.device)

    def similarity(self, features: Tensor) -> Tensor:
        """(n, d_model) -> (n,) in [-1, 1]: cosine to the refusal feature, independent of the direction's scale.

        In the whitened reading the tanh of the projection on `weight`.
        """
        coordinates = self.coordinates(features)
        if self.weight is not None:
            return torch.tanh(coordinates @ self.weight.to(coordinates.device))
        return functional.cosine_similarity(coordinates, self.direction.to(coordinates.device), dim=-1).clamp(-1, 1)

    def to(self, device: torch.device) -> RefusalFeature:
        """A copy on a device."""
        moved = (None if part is None else part.to(device) for part in (self.centre, self.weight))
        return RefusalFeature(self.direction.to(device), self.layer, *moved)

    def save(self, path: Path) -> None:
        parts = {"direction": self.direction, "centre": self.centre, "weight": self.weight}
        tensors = {name: part.contiguous() for name, part in parts.items() if part is not None}
        save_file(tensors, path, metadata={"layer": str(self.layer)})

    @classmethod
    def load(cls, path: Path, *, layer: int) -> RefusalFeature:
        """Raises StoreError if the file is missing, damaged, not finite or of another layer."""
        name = f"{path.parent.name}/{path.name}"
        try:
            with safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no mapping: it has only `keys`
                stored = (file.metadata() or {}).get("layer", str(layer))
            direction, centre, weight = tensors["direction"], tensors.get("centre"), tensors.get("weight")
        except (OSError, SafetensorError, KeyError) as exc:
            raise StoreError(f"{name} cannot be read. Prepare the teacher again.") from exc
        if direction.ndim != 1 or not torch.isfinite(direction).all():
            raise StoreError(f"{name} does not hold one finite direction. Prepare the teacher again.")
        if centre is not None and (centre.shape != direction.shape or not torch.isfinite(centre).all()):
            raise StoreError(f"{name} holds a centre that does not fit its direction. Prepare the teacher again.")
        if weight is not None and (centre is None or weight.shape != direction.shape or not torch.isfinite(weight).all()):
            raise StoreError(f"{name} holds a weight that does not fit its direction. Prepare the teacher again.")
        if "metric" in tensors:
            raise StoreError(f"{name} is whitened in the way of an earlier version. Prepare the teacher again.")
        if stored != str(layer):
            raise StoreError(f"{name} is of layer {stored[:10]}, but teacher.json names layer {layer}. Prepare the teacher again.")
        return cls(direction, layer, centre, weight)


def discriminant(harmful: Tensor, harmless: Tensor) -> Tensor:
    """Fisher's linear discriminant (1936) of features (n, d_model), (d_model,), scaled for tanh((f − centre)·weight).

    weight ∝ Σ⁻¹R, with R the refusal feature and Σ the within-kind covariance of the features, both kinds weighted equally, in float64: the
    refusal feature in coordinates in which prompts scatter equally in every direction. Σ is shrunk towards its mean variance by SHRINKAGE,
    since few prompts say little about most of d_model directions (Ledoit and Wolf, 2004).
    Not a cosine: normalising the features separated held-out sets worse (docs/methods.md).
    """
    means = harmful.double().mean(0), harmless.double().mean(0)
    refusal, centre = means[0] - means[1], 0.5 * (means[0] + means[1])
    parts = [(part.double() - mean) / math.sqrt(2 * len(part)) for part, mean in zip((harmful, harmless), means, strict=True)]
    weight = _whitened(torch.cat(parts), refusal)
    projected = (torch.cat([harmful, harmless]).double() - centre) @ weight
    scale = float(projected.abs().quantile(0.99)) / math.atanh(SATURATION)
    scaled: Tensor = weight / scale if scale else weight
    return scaled.float()


def _whitened(scatter: Tensor, refusal: Tensor) -> Tensor:
    """Σ⁻¹R for Σ = (1 − s)·VᵀV + s·v·1 with V = `scatter` (n, d), v its mean variance and s SHRINKAGE; R itself where V is zero.

    Solved on the smaller side of V: with few prompts of a wide model by Woodbury's identity, over n instead of d dimensions.
    """
    ridge = SHRINKAGE * float(scatter.square().sum()) / scatter.shape[1]
    if not ridge:
        return refusal
    wide = scatter.shape[0] < scatter.shape[1]
    matrix = (1 - SHRINKAGE) * (scatter @ scatter.T if wide else scatter.T @ scatter)
    matrix.diagonal().add_(ridge)
    factor = torch.linalg.cholesky(matrix)
    side = (scatter @ refusal if wide else refusal)[:, None]
    solved = torch.cholesky_solve(side, factor)[:, 0]
    solution: Tensor = (refusal - (1 - SHRINKAGE) * (scatter.T @ solved)) / ridge if wide else solved
    return solution


def regulariser(direction: Tensor, harmful: Tensor, harmless: Tensor, *, margin: float = 1.0, through: bool = False) -> Tensor:
    """Mean max(0, m − cos(R, z_harmful)) + mean max(0, m + cos(R, z_harmless)), in [0, 2 + 2m]; 0 once the kinds are m apart from 0.

    With `margin` m = 1 the published form, mean(1 − cos) + mean(1 + cos), which drives all cosines to ±1, so that a threshold between them
    says nothing; a smaller m (ours) ignores prompts that are separated. R is a constant in the gradient unless `through` (an ablation);
    features are (n, d_model). That harmless features are driven to −1 is our reading of arXiv:2506.07356 (docs/methods.md).
    """
    fixed = direction if through else direction.detach()
    up = functional.cosine_similarity(harmful.float(), fixed, dim=-1)
    down = functional.cosine_similarity(harmless.float(), fixed, dim=-1)
    return functional.relu(margin - up).mean() + functional.relu(margin + down).mean()
