"""Safe LoRA (Hsu et al., arXiv:2405.16833): after finetuning, project the least aligned updates on the directions of alignment."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field

from reft_studio.defenses.defense import Defense, DefenseConfig, DefenseInfo, MethodStyle
from reft_studio.errors import TrainingError

if TYPE_CHECKING:
    from reft_studio.models.low_rank import Layer, Layers, LowRank


class SafeLoraConfig(DefenseConfig):
    """Which layers are projected; the defaults are those of IBM/SafeLoRA."""

    select: Literal["number", "threshold"] = Field("number", description="project so many layers, or all up to a similarity")
    number: int = Field(10, ge=0, le=100_000, description="layers that are projected, the least similar first; 0: none")
    threshold: float = Field(0.5, ge=-1, le=1, description="similarity up to which a layer is projected, with select=threshold")


class SafeLora(Defense):
    """ΔW ← C·ΔW, C = V·Vᵀ/‖V‖_F, V = W_aligned − W_base, in the layers with the least cos(C·ΔW, ΔW); ΔW is the change made by finetuning.

    C is not a projector: it scales by the singular values of V too. It is never materialised: V is the product of two thin matrices.
    """

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="safe_lora",
        title="Safe LoRA",
        summary="Finetunes from aligned weights, then projects the updates that differ most from the directions in which alignment moved.",
        stage="post-finetuning",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=False,
        paper="arXiv:2405.16833",
        cost=1.0,
        strength="number",
        style=MethodStyle("blue", "triangle-down", "dashdot"),
        fixed_start=True,
        code="IBM/SafeLoRA@d81fda1",
    )
    Config: ClassVar[type[DefenseConfig]] = SafeLoraConfig

    def finish(self, layers: Layers) -> None:
        """Project the chosen layers in place. Raises TrainingError if alignment changed none of the layers."""
        config = cast(SafeLoraConfig, self.config)
        projections = {
            name: (layer, projected(layer)) for name, layer in layers.items() if layer.start is not None and layer.start.norm() > 0
        }
        if not projections:
            raise TrainingError("The aligned weights are those of the base in every layer, so Safe LoRA has no direction to project on.")
        similarity = {name: cosine(layer.update, projection) for name, (layer, projection) in projections.items()}
        if config.select == "number":
            chosen = sorted(similarity, key=similarity.__getitem__)[: config.number]
        else:
            chosen = [name for name, value in similarity.items() if value <= config.threshold]
        for name in chosen:
            layer, projection = projections[name]
            assert layer.start is not None, "only such layers were looked at"
            layer.replace(layer.start + projection)


def projected(layer: Layer) -> LowRank:
    """C·ΔW of a layer, as a low-rank product; V(Vᵀ·) needs no matrix larger than the layer's own factors."""
    start, update = layer.start, layer.update
    assert start is not None, "a layer that alignment did not change has no direction"
    up = start.up @ ((start.down @ start.down.T) @ (start.up.T @ update.up)) / start.norm()
    return type(update)(up, update.down)


def cosine(a: LowRank, b: LowRank) -> float:
    """Cosine of two updates as vectors; 1 where one of them is zero, so that nothing is projected."""
    size = a.norm() * b.norm()
    return a.inner(b) / size if size > 0 else 1.0
