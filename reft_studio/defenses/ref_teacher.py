"""Ref-Teacher (Ham et al., arXiv:2506.07356): filter by refusal feature, and distil the teacher's soft refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import Defense, DefenseConfig, DefenseInfo, MethodStyle, RunContext, task_loss

if TYPE_CHECKING:
    from torch import Tensor

    from reft_studio.models.batching import Batch
    from reft_studio.models.fit import StepLog
    from reft_studio.models.supervised import Supervised


class DistillConfig(DefenseConfig):
    """Weight and temperature of the distillation term; the defaults are ours, the paper does not state its own."""

    alpha: float = Field(1.0, ge=0, le=100, description="weight α of the distillation term; 0 leaves the task loss alone")
    temperature: float = Field(1.0, ge=0.1, le=20, description="softness T of both models' answers in the distillation term")


class RefTeacher(Defense):
    """L = CE(kept user rows) + α·T²·KL(teacher ‖ student) on alignment rows, from the base."""

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="ref_teacher",
        title="Ref-Teacher",
        summary="Removes the rows that the teacher flags and, while finetuning the base, distils the teacher's refusals into it.",
        stage="filter and finetuning",
        starts_from="base",
        uses_filter=True,
        needs_teacher=True,
        needs_alignment=True,
        paper="arXiv:2506.07356",
        cost=1.5,
        strength="alpha",
        style=MethodStyle("green", "diamond", "solid"),
    )
    Config: ClassVar[type[DefenseConfig]] = DistillConfig

    def finetune_step(self, user: Batch) -> StepLog:
        """Add the gradient of the task loss and of the distillation term."""
        return distill_step(self.context, cast(DistillConfig, self.config), user)


def distill_step(context: RunContext, config: DistillConfig, user: Batch) -> StepLog:
    """Add the gradient of CE(user) + α·T²·KL(teacher ‖ student); with α = 0 exactly plain finetuning."""
    if config.alpha == 0:
        return context.learn(task_loss, user)

    def losses(task: Supervised, alignment: Supervised) -> dict[str, Tensor]:
        states, head = context.teacher_states(alignment.batch), context.teacher_head
        soft = alignment.distillation(states, head=head, temperature=config.temperature)
        return {"task": task.cross_entropy(), "alignment": config.alpha * soft}

    return context.learn(losses, user, context.alignment_batch(guided=True))
