"""AsFT (Yang et al., arXiv:2506.08473): penalise the part of the update outside the directions in which alignment moved the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import Defense, DefenseConfig, DefenseInfo, MethodStyle, RunContext, task_loss
from reft_studio.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor

    from reft_studio.models.batching import Batch
    from reft_studio.models.fit import StepLog
    from reft_studio.models.low_rank import Layer, Layers


class AsftConfig(DefenseConfig):
    """Weight of the penalty; the default is that of PKU-YuanGroup/AsFT."""

    lam: float = Field(1.0, ge=0, le=10_000, title="λ", description="weight λ of what the update has outside of alignment; 0: it is free")


class Asft(Defense):
    """L = CE(user) + λ·Σ‖(I − C)·ΔW‖_F², C = V·Vᵀ/‖V‖_F, V = W_aligned − W_base, over the layers that alignment changed.

    ΔW is the change made by finetuning, B·A without the LoRA scale, as in the authors' code. C is never materialised.
    """

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="asft",
        title="AsFT",
        summary="Finetunes aligned weights and penalises what the update has outside of the directions in which alignment moved them.",
        stage="finetuning",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=False,
        paper="arXiv:2506.08473",
        cost=1.0,
        strength="lam",
        style=MethodStyle("sky", "triangle-right", "dash"),
        fixed_start=True,
        code="PKU-YuanGroup/AsFT@07b606e",
    )
    Config: ClassVar[type[DefenseConfig]] = AsftConfig

    def __init__(self, config: DefenseConfig, context: RunContext) -> None:
        super().__init__(config, context)
        self._held: Sequence[HeldLayer] | None = None

    def finetune_step(self, user: Batch) -> StepLog:
        """One forward pass; the penalty depends on the weights alone. Raises TrainingError if alignment changed none of the layers."""
        lam = cast(AsftConfig, self.config).lam
        if not lam:
            return super().finetune_step(user)
        if self._held is None:
            self._held = held(self.context.layers)
        line = self.context.learn(task_loss, user)
        outside = self.context.weights.descend(lam * total(self._held)) if self._held else 0.0
        return {**line, "outside": outside, "loss": line["loss"] + outside}


class HeldLayer:
    """A layer that alignment changed by V = U·D: C·X = K·(Uᵀ·X) with K = U·(D·Dᵀ)/‖V‖_F, (outputs, rank)."""

    def __init__(self, layer: Layer) -> None:
        start = layer.start
        assert start is not None, "only such layers are held"
        self._layer, self._up = layer, start.up
        self._scaled = start.up @ (start.down @ start.down.T) / start.norm()

    def outside(self) -> Tensor:
        """‖(I − C)·ΔW‖_F², a differentiable scalar: for P = (I − C)·up, the sum over PᵀP ∘ down·downᵀ."""
        change = self._layer.change
        rest = change.up - self._scaled @ (self._up.T @ change.up)
        return ((rest.T @ rest) * (change.down @ change.down.T)).sum()


def total(layers: Sequence[HeldLayer]) -> Tensor:
    """Sum of the penalties of all layers, a scalar."""
    import torch

    return torch.stack([layer.outside() for layer in layers]).sum()


def held(layers: Layers) -> list[HeldLayer]:
    """The layers that alignment changed. Raises TrainingError if there are aligned weights but they equal the base in every layer."""
    starts = [layer for layer in layers.values() if layer.start is not None]
    changed = [HeldLayer(layer) for layer in starts if layer.start is not None and layer.start.norm() > 0]
    if starts and not changed:
        raise TrainingError("The aligned weights are those of the base in every layer, so AsFT has no direction to hold the update to.")
    return changed
