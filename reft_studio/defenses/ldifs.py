"""LDIFS (Mukhoti et al., arXiv:2308.13320): finetuning that keeps the features of the weights it began from."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field

from reft_studio.defenses.defense import Defense, DefenseConfig, DefenseInfo, MethodStyle, task_loss

if TYPE_CHECKING:
    from torch import Tensor

    from reft_studio.models.batching import Batch
    from reft_studio.models.fit import StepLog
    from reft_studio.models.joint import States

GATE = 0.1
"""A block whose own term reaches this is left out of a step."""


class LdifsConfig(DefenseConfig):
    """Strength of the pull and which blocks it takes; the defaults are those of git-disl/Booster."""

    rho: float = Field(1e-4, ge=0, le=1000, title="ρ", description="strength ρ of the pull of the MLP outputs to where they began; 0: none")
    gate: Literal["official", "ungated"] = Field(
        "official", description="official: a block that has moved far is let go, as in the authors' code; ungated: every block is pulled"
    )


class Ldifs(Defense):
    """L = CE(user rows) + Σ_l p_l, p_l = ρ/2·‖a_l(w) − a_l(w₀)‖², where p_l < 0.1 or ungated; a_l: MLP outputs of block l on these rows."""

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="ldifs",
        title="LDIFS",
        summary="Finetunes aligned weights while the outputs of every MLP on the user's rows are held near what they were before.",
        stage="finetuning",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=False,
        paper="arXiv:2308.13320",
        cost=1.5,
        strength="rho",
        look=MethodStyle("vermilion", "triangle-left", "dashdot"),
        code="git-disl/Booster@6421918",
    )
    Config: ClassVar[type[DefenseConfig]] = LdifsConfig

    def finetune_step(self, user: Batch) -> StepLog:
        """One pass of the weights it began from, without a gradient, and one that learns."""
        from reft_studio.models.inner import answers, block_modules, moved
        from reft_studio.models.joint import keeping

        config, context = cast(LdifsConfig, self.config), self.context
        if not config.rho:
            return super().finetune_step(user)
        mlps = block_modules(context.model, "mlp")
        began: dict[Hashable, Tensor] = {}
        context.read(user, around=keeping(answers(mlps), began), start=True)
        let_go = 0

        def losses(states: States) -> dict[str, Tensor]:
            nonlocal let_go
            terms = 0.5 * config.rho * moved(states, began, len(mlps))
            if config.gate == "ungated":
                return {"pull": terms.sum()}
            held = terms.detach() < GATE
            let_go = len(mlps) - int(held.sum())
            return {"pull": terms.where(held, 0.0).sum()}

        line = context.learn_jointly(user, answers(mlps), losses, plus=task_loss)
        return {**line, "let_go": float(let_go)}
