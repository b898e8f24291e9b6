"""The refusal feature: the direction in hidden space in which harmful prompts differ from harmless ones."""

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

SHRINKAGE = 0.1
"""Share of the mean variance in every variance of `whitening`."""
RANK = 64
"""Axes of `whitening` that are kept: what is beyond is noise of few prompts, and dilutes every cosine."""


@dataclass(frozen=True)
class RefusalFeature:
    """R_l = mean harmful feature minus mean harmless feature, after block `layer` (from 1), and how a feature is compared with it.

    direction: (d_model,) float32. Source: arXiv:2506.07356. Two readings of ours: `centre` (d_model,), the midpoint of the two
    means, is subtracted from a feature first; `metric` (k, d_model) then takes both into coordinates in which prompts of one kind
    scatter equally in every direction (`whitening`).
    """

    direction: Tensor
    layer: int
    centre: Tensor | None = None
    metric: Tensor | None = None

    @classmethod
    def between(cls, harmful: Tensor, harmless: Tensor, *, layer: int, reading: Reading = "raw") -> RefusalFeature:
        """From features (n, d_model) of both kinds; means in float64. Raises DataError if a kind is missing."""
        if not len(harmful) or not len(harmless):
            raise DataError("A refusal feature needs at least one harmful and one harmless prompt.")
        means = harmful.double().mean(0), harmless.double().mean(0)
        direction, midpoint = (means[0] - means[1]).float(), (0.5 * (means[0] + means[1])).float()
        if reading == "raw":
            return cls(direction, layer)
        return cls(direction, layer, midpoint, whitening(harmful, harmless) if reading == "whitened" else None)

    @property
    def reading(self) -> Reading:
        return "whitened" if self.metric is not None else "raw" if self.centre is None else "centred"

    @property
    def axis(self) -> Tensor:
        """The direction in the coordinates of the reading, (k,)."""
        return self.direction if self.metric is None else self.metric @ self.direction

    def coordinates(self, features: Tensor) -> Tensor:
        """Features (n, d_model) as float32 in the coordinates of the reading, (n, k). Raises SpecError for another width."""
        if features.shape[-1] != len(self.direction):
            raise SpecError(
                f"The model's hidden states have {features.shape[-1]} numbers, but the refusal feature has {len(self.direction)}: it was "
                "prepared on another base. Prepare a teacher for this model."
            )
        found = features.float() if self.centre is None else features.float() - self.centre.to(features.device)
        return found if self.metric is None else found @ self.metric.to(features.device).T

    def similarity(self, features: Tensor) -> Tensor:
        """(n, d_model) -> (n,): cosine to the refusal feature, in [-1, 1]; invariant to the scale of the direction."""
        return functional.cosine_similarity(self.coordinates(features), self.axis.to(features.device), dim=-1).clamp(-1, 1)

    def to(self, device: torch.device) -> RefusalFeature:
        """The same on a device."""
        moved = (None if part is None else part.to(device) for part in (self.centre, self.metric))
        return RefusalFeature(self.direction.to(device), self.layer, *moved)

    def save(self, path: Path) -> None:
        parts = {"direction": self.direction, "centre": self.centre, "metric": self.metric}
        tensors = {name: part.contiguous() for name, part in parts.items() if part is not None}
        save_file(tensors, path, metadata={"layer": str(self.layer)})

    @classmethod
    def load(cls, path: Path, *, layer: int) -> RefusalFeature:
        """Raises StoreError if the file is missing, damaged, not finite or of another layer."""
        name = f"{path.parent.name}/{path.name}"
        try:
            with safe_open(path, "pt") as file:
                found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no mapping: it has only `keys`
                stored = (file.metadata() or {}).get("layer", str(layer))
            direction, centre, metric = found["direction"], found.get("centre"), found.get("metric")
        except (OSError, SafetensorError, KeyError) as exc:
            raise StoreError(f"{name} cannot be read. Prepare the teacher again.") from exc
        if direction.ndim != 1 or not torch.isfinite(direction).all():
            raise StoreError(f"{name} does not hold one finite direction. Prepare the teacher again.")
        if centre is not None and (centre.shape != direction.shape or not torch.isfinite(centre).all()):
            raise StoreError(f"{name} holds a centre that does not fit its direction. Prepare the teacher again.")
        if metric is not None and (metric.ndim != 2 or metric.shape[1] != len(direction) or not torch.isfinite(metric).all()):
            raise StoreError(f"{name} holds a metric that does not fit its direction. Prepare the teacher again.")
        if stored != str(layer):
            raise StoreError(f"{name} is of layer {stored[:10]}, but teacher.json names layer {layer}. Prepare the teacher again.")
        return cls(direction, layer, centre, metric)


def whitening(harmful: Tensor, harmless: Tensor) -> Tensor:
    """The metric (k, d_model) in which both kinds scatter alike in all directions: rows v_i / sqrt(λ_i).

    λ_i, v_i: variances and axes of the features (n, d_model) around the mean of their own kind, the kinds counting alike, in float64.
    Variances are shrunk towards their mean by SHRINKAGE, since few prompts say little about most of d_model directions; at most
    RANK axes of largest variance are kept. The cosine to R there is that of linear discriminant analysis (Fisher, 1936) but for the
    length of the feature.
    """
    parts = [(part.double() - part.double().mean(0)) / math.sqrt(2 * len(part)) for part in (harmful, harmless)]
    _, scale, axes = torch.linalg.svd(torch.cat(parts), full_matrices=False)
    variance = scale.square()
    shrunk = (1 - SHRINKAGE) * variance + SHRINKAGE * variance.mean()
    kept = slice(0, min(RANK, int((variance > 0).sum())))
    metric: Tensor = axes[kept] / shrunk[kept].sqrt()[:, None]
    return metric.float()


def regulariser(direction: Tensor, harmful: Tensor, harmless: Tensor, *, margin: float = 1.0, through: bool = False) -> Tensor:
    """Mean max(0, m − cos(R, z_harmful)) + mean max(0, m + cos(R, z_harmless)), in [0, 2 + 2m]; 0 once the kinds are m apart from 0.

    With `margin` m = 1 the published form, mean(1 − cos) + mean(1 + cos), which pulls until all cosines are ±1 and a threshold
    between them says nothing; a smaller m (ours) leaves prompts alone that are told apart. R is a constant of the gradient unless
    `through` (an ablation); features are (n, d_model). That harmless features are driven to −1 is our reading of arXiv:2506.07356
    (docs/methods.md).
    """
    fixed = direction if through else direction.detach()
    up = functional.cosine_similarity(harmful.float(), fixed, dim=-1)
    down = functional.cosine_similarity(harmless.float(), fixed, dim=-1)
    return functional.relu(margin - up).mean() + functional.relu(margin + down).mean()
