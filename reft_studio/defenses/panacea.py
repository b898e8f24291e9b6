"""Panacea (Wang et al., arXiv:2501.18100): train towards weights where a step that raises the harmful loss works best, and end with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import Defense, DefenseConfig, DefenseInfo, MethodStyle, RunContext, task_loss

if TYPE_CHECKING:
    from reft_studio.models.batching import Batch
    from reft_studio.models.fit import StepLog
    from reft_studio.models.low_rank import Layers
    from reft_studio.models.weights import Gradient

MOST = 5.0
"""Harmful loss above which the shifted weights' gradient is ignored."""


class PanaceaConfig(DefenseConfig):
    """Length of the shift and its weight in training; the defaults are those of w-yibo/Panacea."""

    rho: float = Field(1.0, ge=0, le=1000, title="ρ", description="length ρ of the shift away from harmful answers; 0: plain finetuning")
    lam: float = Field(
        1e-3, ge=0, le=1000, title="λ", description="weight λ of how much the shift raises the harmful loss; 0: the shift at the end alone"
    )


class Panacea(Defense):
    """∇g(w) − λ·(∇h(w + ε) − ∇h(w)), ε = ρ·∇h(w)/‖∇h(w)‖, h the loss of harmful responses; the result is w + ε of the last step.

    Where h(w + ε) is above 5 its gradient is ignored.
    """

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="panacea",
        title="Panacea",
        summary="Finetunes aligned weights while a shift that raises the loss of harmful answers is looked for, and adds it in the end.",
        stage="finetuning",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=False,
        needs_harmful=True,
        paper="arXiv:2501.18100",
        cost=2.0,
        strength="rho",
        style=MethodStyle("green", "star-open", "dash"),
        code="w-yibo/Panacea@d17b2db",
    )
    Config: ClassVar[type[DefenseConfig]] = PanaceaConfig

    def __init__(self, config: DefenseConfig, context: RunContext) -> None:
        super().__init__(config, context)
        self._shift: Gradient = []

    def finetune_step(self, user: Batch) -> StepLog:
        """Three gradients: of harmful responses at w, of the same at w + ε, and of the user's rows."""
        config, context = cast(PanaceaConfig, self.config), self.context
        if not config.rho:
            return super().finetune_step(user)
        harmful = context.batch("harmful")
        with context.repeat_dropout():
            at_weights, before = context.gradient(task_loss, harmful)
        self._shift = context.weights.of_length(at_weights, config.rho)
        with context.weights.moved(self._shift, 1.0):
            at_shift, shifted = context.gradient(task_loss, harmful)
        line = context.learn(task_loss, user)
        context.add(at_weights, config.lam)
        if shifted["task"] <= MOST:
            context.add(at_shift, -config.lam)
        return {**line, "harmful": before["task"], "shifted": shifted["task"]}

    def state(self) -> dict[str, Any]:
        return {f"shift-{index}": value for index, value in enumerate(self._shift)}

    def restore(self, state: dict[str, Any]) -> None:
        self._shift = [state[f"shift-{index}"] for index in range(len(state))]

    def finish(self, layers: Layers) -> None:
        """Add the last shift ε to the trained weights."""
        if self._shift:
            self.context.weights.add(self._shift)
