"""SA+FT: user data and alignment data together from the base, with hard labels. A strong, simple baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import Defense, DefenseConfig, DefenseInfo, MethodStyle, joint_loss

if TYPE_CHECKING:
    from reft_studio.models.batching import Batch
    from reft_studio.models.fit import StepLog


class SaFtConfig(DefenseConfig):
    """Weight of the alignment rows."""

    alpha: float = Field(1.0, ge=0, le=100, description="weight α of the cross entropy on alignment rows; 0 is plain SFT")


class SaFt(Defense):
    """L = CE(user) + α·CE(alignment)."""

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="sa_ft",
        title="SA+FT from base",
        summary="Trains on every row and on refusals at the same time, from the base, with the refusals' text as hard labels.",
        stage="finetuning",
        starts_from="base",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=True,
        paper="baseline of arXiv:2506.07356; the safe-row mixing of VLGuard and SafeInstruct",
        cost=1.5,
        strength="alpha",
        style=MethodStyle("pink", "cross", "dashdot"),
    )
    Config: ClassVar[type[DefenseConfig]] = SaFtConfig

    def finetune_step(self, user: Batch) -> StepLog:
        """One forward for both kinds of rows."""
        alpha = cast(SaFtConfig, self.config).alpha
        if alpha == 0:
            return super().finetune_step(user)
        return self.context.learn(joint_loss(alpha), user, self.context.alignment_batch())
