"""RESTA (Bhardwaj et al., arXiv:2402.11746): after finetuning, add the difference between aligned and unaligned weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import ALIGNED, Defense, DefenseConfig, DefenseInfo, MethodStyle, Stage, task_loss

if TYPE_CHECKING:
    from reft_studio.models.fit import StepLog
    from reft_studio.models.low_rank import Layers

UNALIGNED = "unaligned"
"""Name of the adapter that removes alignment, on top of the aligned weights."""


class RestaConfig(DefenseConfig):
    """Weight of the safety vector; γ is that of xinykou/safety_realignment, the rest is ours."""

    gamma: float = Field(0.5, ge=0, le=100, title="γ", description="weight γ of the safety vector; 0: none is made")
    drop: float = Field(0.0, ge=0, lt=1, description="share of the update's entries that are dropped before, the rest scaled up; 0: none")
    unaligned_steps: int | None = Field(
        None, ge=1, le=1_000_000, description="steps on harmful answers that unalign the weights; empty: as many as the run's"
    )


class Resta(Defense):
    """θ = θ_ft + γ·(θ_aligned − θ_unaligned), θ_unaligned the aligned weights finetuned on harmful responses; added as low-rank products.

    With `drop` p (DARE), entries of the changes of A and of B are reset with probability p, the others scaled by 1/(1 − p).
    """

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="resta",
        title="RESTA",
        summary="Finetunes from aligned weights, then adds the difference between them and the same weights taught harmful answers.",
        stage="post-finetuning",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=False,
        needs_harmful=True,
        paper="arXiv:2402.11746",
        cost=1.0,
        strength="gamma",
        style=MethodStyle("orange", "triangle-up-open", "dash"),
        code="xinykou/safety_realignment@5a80593",
    )
    Config: ClassVar[type[DefenseConfig]] = RestaConfig

    def stages(self) -> Sequence[Stage]:
        """The unaligned weights, as an adapter on top of the aligned ones."""
        config = cast(RestaConfig, self.config)
        if not config.gamma:
            return ()
        return [Stage(UNALIGNED, UNALIGNED, self.unalign_step, reads=("harmful",), steps=config.unaligned_steps, on=(ALIGNED,))]

    def unalign_step(self) -> StepLog:
        """Add the gradient of one step on harmful responses."""
        return self.context.learn(task_loss, self.context.batch("harmful"))

    def finish(self, layers: Layers) -> None:
        """Drop entries of the update if configured, and add the safety vector."""
        from reft_studio.models.pruning import drop_and_rescale

        config = cast(RestaConfig, self.config)
        if not config.gamma:
            return
        unaligned = layers.of(UNALIGNED)
        for name, layer in layers.items():
            if config.drop:
                for weight, begun, part in zip((layer.up, layer.down), layer.begun, ("up", "down"), strict=True):
                    drop_and_rescale(weight, begun, config.drop, seed=self.context.seed(f"drop {name} {part}"))
            layer.replace(layer.total + -config.gamma * unaligned[name])
