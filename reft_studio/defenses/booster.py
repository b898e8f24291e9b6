"""Booster (Huang et al., arXiv:2409.01586): alignment that reduces how much a harmful step lowers the harmful loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import ALIGNED, Defense, DefenseConfig, DefenseInfo, MethodStyle, Stage, task_loss

if TYPE_CHECKING:
    from reft_studio.models.fit import StepLog


class BoosterConfig(DefenseConfig):
    """Weight of the regulariser and length of the simulated step; the defaults are those of git-disl/Booster."""

    lam: float = Field(5.0, ge=0, le=1000, title="λ", description="weight λ of how much a harmful step lowers the harmful loss; 0: none")
    alpha: float = Field(0.1, ge=0, le=10, description="length α of the simulated harmful step; 0: none")


class Booster(Defense):
    """ĝ = ∇f(w) + λ·(∇h(w) − ∇h(w − α·∇h(w)/‖∇h(w)‖)), f the alignment loss, h the loss of harmful responses; then plain finetuning."""

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="booster",
        title="Booster",
        summary="Aligns the base so that a step on harmful data lowers the harmful loss less; finetuning on the user's data is plain.",
        stage="alignment",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=True,
        needs_harmful=True,
        paper="arXiv:2409.01586",
        cost=1.0,
        strength="lam",
        style=MethodStyle("orange", "star", "dot"),
        fixed_start=True,
        code="git-disl/Booster@6421918",
    )
    Config: ClassVar[type[DefenseConfig]] = BoosterConfig

    def alignment_stage(self) -> Stage:
        """Booster's own stage; with λ or α zero the plain one, whose adapter is shared between methods."""
        config = cast(BoosterConfig, self.config)
        if not config.lam or not config.alpha:
            return super().alignment_stage()
        return Stage(ALIGNED, "booster", self.align_step, reads=("refusals", "answers", "harmful"), settings=config.model_dump())

    def align_step(self) -> StepLog:
        """Three gradients: of harmful responses at w, of the same after a simulated step on them, and of the alignment rows."""
        config, context = cast(BoosterConfig, self.config), self.context
        if not config.lam or not config.alpha:
            return super().align_step()
        harmful = context.batch("harmful")
        with context.repeat_dropout():
            at_weights, before = context.gradient(task_loss, harmful)
        with context.weights.moved(context.weights.of_length(at_weights, -config.alpha), 1.0):
            at_step, stepped = context.gradient(task_loss, harmful)
        line = context.learn(task_loss, context.alignment_batch())
        context.add(at_weights, config.lam)
        context.add(at_step, -config.lam)
        return {**line, "harmful": before["task"], "attenuated": before["task"] - stepped["task"]}
