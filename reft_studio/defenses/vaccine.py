"""Vaccine (Huang et al., arXiv:2402.01109): alignment under a worst-case perturbation of the attention outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import ALIGNED, Defense, DefenseConfig, DefenseInfo, MethodStyle, RunContext, Stage, task_loss

if TYPE_CHECKING:
    from torch import nn

    from reft_studio.models.fit import StepLog


class VaccineConfig(DefenseConfig):
    """Length of the perturbation; the default is that of git-disl/Vaccine."""

    rho: float = Field(
        2.0, ge=0, le=1000, title="ρ", description="length ρ of the drift of all attention outputs of a batch together; 0: none"
    )


class Vaccine(Defense):
    """∇f(e + δ), δ = ρ·∇ₑf/‖∇ₑf‖, f the alignment loss, e the attention output of every block; then plain finetuning."""

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="vaccine",
        title="Vaccine",
        summary="Aligns the base while the outputs of its attention are pushed the way that harms alignment most; then plain finetuning.",
        stage="alignment",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=True,
        paper="arXiv:2402.01109",
        cost=1.0,
        strength="rho",
        style=MethodStyle("pink", "octagon", "dash"),
        fixed_start=True,
        code="git-disl/Vaccine@8937f68",
    )
    Config: ClassVar[type[DefenseConfig]] = VaccineConfig

    def alignment_stage(self) -> Stage:
        """Vaccine's own stage; with ρ zero the plain one, whose adapter is shared between methods."""
        config = cast(VaccineConfig, self.config)
        if not config.rho:
            return super().alignment_stage()
        return Stage(ALIGNED, "vaccine", self.align_step, reads=("refusals", "answers"), settings=config.model_dump())

    def align_step(self) -> StepLog:
        """Two passes over the alignment rows: the first computes the perturbation, the second learns under it."""
        from reft_studio.models.module_outputs import block_modules

        config = cast(VaccineConfig, self.config)
        if not config.rho:
            return super().align_step()
        return drift_step(self.context, block_modules(self.context.model, "attention"), config.rho)


def drift_step(context: RunContext, modules: Sequence[nn.Module], length: float) -> StepLog:
    """Add the gradient of the alignment loss while the outputs of `modules` are perturbed by `length` along its gradient."""
    from reft_studio.models.module_outputs import OutputGradients

    batch, drift = context.alignment_batch(), OutputGradients(modules, context.weights.parameters[0])
    with context.repeat_dropout():
        _, unperturbed = context.gradient(task_loss, batch, around=drift.record)
    line = context.learn(task_loss, batch, around=drift.perturb(length))
    return {**line, "drifted": line["task"] - unperturbed["task"]}
