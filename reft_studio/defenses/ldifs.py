"""LDIFS (Mukhoti et al., arXiv:2308.13320): finetuning that keeps the features of the starting weights."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field

from reft_studio.defenses.defense import Defense, DefenseConfig, DefenseInfo, MethodStyle, task_loss

if TYPE_CHECKING:
    from torch import Tensor

    from reft_studio.models.batching import Batch
    from reft_studio.models.fit import StepLog
    from reft_studio.models.joint_losses import States

GATE = 0.1
"""A block whose penalty reaches this is left out of the step."""


class LdifsConfig(DefenseConfig):
    """Strength of the penalty and the blocks it applies to; the defaults are those of git-disl/Booster."""

    rho: float = Field(1e-4, ge=0, le=1000, title="ρ", description="strength ρ of the pull of the MLP outputs to where they began; 0: none")
    gate: Literal["official", "ungated"] = Field(
        "official",
        description="official: a block that has squared_distances far is let go, as in the authors' code; ungated: every block is pulled",
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
        style=MethodStyle("vermilion", "triangle-left", "dashdot"),
        code="git-disl/Booster@6421918",
    )
    Config: ClassVar[type[DefenseConfig]] = LdifsConfig

    def finetune_step(self, user: Batch) -> StepLog:
        """One forward pass with the starting weights, without a gradient, and one training pass."""
        from reft_studio.models.joint_losses import capture_into
        from reft_studio.models.module_outputs import block_modules, capture_outputs, squared_distances

        config, context = cast(LdifsConfig, self.config), self.context
        if not config.rho:
            return super().finetune_step(user)
        mlps = block_modules(context.model, "mlp")
        start: dict[Hashable, Tensor] = {}
        context.read(user, around=capture_into(capture_outputs(mlps), start), start=True)
        skipped = 0

        def losses(states: States) -> dict[str, Tensor]:
            nonlocal skipped
            terms = 0.5 * config.rho * squared_distances(states, start, len(mlps))
            if config.gate == "ungated":
                return {"pull": terms.sum()}
            within = terms.detach() < GATE
            skipped = len(mlps) - int(within.sum())
            return {"pull": terms.where(within, 0.0).sum()}

        line = context.learn_jointly(user, capture_outputs(mlps), losses, extra=task_loss)
        return {**line, "let_go": float(skipped)}
