"""Lisa (Huang et al., arXiv:2405.18641): alternates alignment and user steps, with a proximal term to the weights each phase began with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import Defense, DefenseConfig, DefenseInfo, MethodStyle, RunContext, task_loss

if TYPE_CHECKING:
    from torch import Tensor

    from reft_studio.models.batching import Batch
    from reft_studio.models.fit import StepLog

WARMUP = 0.1
"""Share of all steps before the proximal term is applied."""


class LisaConfig(DefenseConfig):
    """Lengths of the phases and strength of the proximal term; the defaults are those of git-disl/Lisa, scaled to 160 steps."""

    rho: float = Field(1.0, ge=0, le=1000, description="strength ρ of the pull towards the weights at the last turn")
    alignment_steps: int = Field(
        2, ge=0, le=100_000, description="steps K₁ on alignment data in a turn; 0 leaves the user data alone, and nothing is held"
    )
    user_steps: int = Field(18, ge=1, le=100_000, description="steps K₂ on user data in a turn")


class Lisa(Defense):
    """L = CE(rows of the phase) + ρ/2·‖w − w̄‖², w̄ the weights at the start of the phase; the term applies after a tenth of all steps.

    An alignment step skips the user batch of its step, as in the authors' code.
    """

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="lisa",
        title="Lisa",
        summary="Trains from aligned weights on alignment data and user data in turn, and holds the weights near where each turn began.",
        stage="finetuning",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=True,
        paper="arXiv:2405.18641",
        cost=1.0,
        strength="alignment_steps",
        style=MethodStyle("sky", "hexagon", "dash"),
        code="git-disl/Lisa@68e3659",
    )
    Config: ClassVar[type[DefenseConfig]] = LisaConfig

    def __init__(self, config: DefenseConfig, context: RunContext) -> None:
        super().__init__(config, context)
        self._anchor: list[Tensor] = []

    def finetune_step(self, user: Batch) -> StepLog:
        """Add the gradient of this phase's rows and of the proximal term."""
        config, context = cast(LisaConfig, self.config), self.context
        if not config.alignment_steps:
            return super().finetune_step(user)
        position = (context.step - 1) % (config.alignment_steps + config.user_steps)
        if position in (0, config.alignment_steps):
            self._anchor = context.weights.copy()
        aligning = position < config.alignment_steps
        line = context.learn(task_loss, context.alignment_batch() if aligning else user)
        if context.step > WARMUP * context.steps and config.rho:
            line["pull"] = context.weights.pull(self._anchor, config.rho)
            line["loss"] += line["pull"]
        return {**line, "aligning": float(aligning)}

    def state(self) -> dict[str, Any]:
        return {f"anchor-{index}": value for index, value in enumerate(self._anchor)}

    def restore(self, state: dict[str, Any]) -> None:
        self._anchor = [state[f"anchor-{index}"] for index in range(len(state))]
