"""VLGuard's two recipes on text (Zong et al., arXiv:2402.02207): refusals with every batch of user rows, or a training afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field

from reft_studio.defenses.defense import Defense, DefenseConfig, DefenseInfo, MethodStyle, joint_loss, task_loss

if TYPE_CHECKING:
    from reft_studio.models.batching import Batch
    from reft_studio.models.fit import StepLog


class VlguardConfig(DefenseConfig):
    """Recipe and strength; λ and the batch size are those of git-disl/Booster, the length of the training afterwards is ours."""

    recipe: Literal["mixed", "post_hoc"] = Field(
        "mixed", description="mixed: refusals beside every batch of user rows; post_hoc: refusals and answers after them"
    )
    lam: float = Field(0.1, ge=0, le=100, title="λ", description="weight λ of the refusals beside the user's rows; 0: neither recipe")
    safe_batch_size: int = Field(4, ge=1, le=4096, description="refusals beside each batch of user rows")
    post_hoc_share: float = Field(0.25, gt=0, le=10, description="steps of the training afterwards, as a share of those on user rows")


class Vlguard(Defense):
    """mixed: L = CE(user) + λ·CE(refusals). post_hoc: CE(user), then CE(refusals and responses, half and half) for further steps.

    The training afterwards has its own learning rate schedule and keeps the optimizer's moments.
    """

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="vlguard",
        title="VLGuard",
        summary="Finetunes aligned weights with a few refusals beside every batch of user rows, or repairs them with refusals afterwards.",
        stage="finetuning",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=True,
        paper="arXiv:2402.02207",
        cost=1.2,
        strength="lam",
        style=MethodStyle("pink", "x-open", "dot"),
        code="git-disl/Booster@6421918",
    )
    Config: ClassVar[type[DefenseConfig]] = VlguardConfig

    @classmethod
    def steps_after(cls, config: DefenseConfig, steps: int) -> int:
        chosen = cast(VlguardConfig, config)
        return max(1, round(chosen.post_hoc_share * steps)) if chosen.recipe == "post_hoc" and chosen.lam else 0

    def finetune_step(self, user: Batch) -> StepLog:
        """One forward pass for the user's rows and the refusals; after the user's rows one for alignment rows."""
        config, context = cast(VlguardConfig, self.config), self.context
        if context.step > context.steps:
            return context.learn(task_loss, context.alignment_batch())
        if not config.lam or config.recipe == "post_hoc":
            return super().finetune_step(user)
        return context.learn(joint_loss(config.lam), user, context.batch("refusals", size=config.safe_batch_size))
