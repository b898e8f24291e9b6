"""Distillation only: Ref-Teacher's soft refusals without its filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from reft_studio.defenses.defense import Defense, DefenseConfig, DefenseInfo, MethodStyle
from reft_studio.defenses.ref_teacher import DistillConfig, distill_step

if TYPE_CHECKING:
    from reft_studio.models.batching import Batch
    from reft_studio.models.fit import StepLog


class DistillOnly(Defense):
    """L = CE(all user rows) + α·T²·KL(teacher ‖ student) on alignment rows."""

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="distill_only",
        title="Distillation only",
        summary="Finetunes the base on every row while the teacher's refusals are distilled into it. Poison and teacher compete.",
        stage="finetuning",
        starts_from="base",
        uses_filter=False,
        needs_teacher=True,
        needs_alignment=True,
        paper="ablation of arXiv:2506.07356",
        cost=1.5,
        strength="alpha",
        style=MethodStyle("ink", "x", "longdashdot"),
    )
    Config: ClassVar[type[DefenseConfig]] = DistillConfig

    def finetune_step(self, user: Batch) -> StepLog:
        """Add the gradient of the task loss and of the distillation term."""
        return distill_step(self.context, cast(DistillConfig, self.config), user)
