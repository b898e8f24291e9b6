"""T-Vaccine (Liu et al., arXiv:2410.09760): Vaccine in a few blocks at a time, preferring those that harmful data moves most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import ALIGNED, Defense, DefenseConfig, DefenseInfo, MethodStyle, RunContext, Stage, task_loss
from reft_studio.defenses.vaccine import drift_step

if TYPE_CHECKING:
    from torch import nn

    from reft_studio.models.fit import StepLog


class TVaccineConfig(DefenseConfig):
    """Length of the perturbation, number of blocks, and how often they are sampled; the defaults are those of Lslland/T-Vaccine."""

    rho: float = Field(
        3.0, ge=0, le=1000, title="ρ", description="length ρ of the drift of the chosen attention outputs of a batch together; 0: none"
    )
    layers: int = Field(8, ge=1, le=10_000, description="blocks S that are trained and drift at a time; all of them is Vaccine")
    redraw_every: int = Field(20, ge=1, le=100_000, description="steps J between two draws of the blocks")
    measure_every: int = Field(200, ge=1, le=100_000, description="steps K between two measurements of the chances of the blocks")


class TVaccine(Defense):
    """∇f(e + δ) in S blocks alone, sampled with probabilities ∝ ‖∇ₑh‖, h the loss of a harmful response, e a block's attention output.

    Other blocks are frozen until the next sample.
    """

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="t_vaccine",
        title="T-Vaccine",
        summary="Aligns the base as Vaccine does, but trains only a few blocks at a time, those first that harmful answers move most.",
        stage="alignment",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=True,
        needs_harmful=True,
        paper="arXiv:2410.09760",
        cost=1.0,
        strength="rho",
        style=MethodStyle("pink", "octagon-open", "dot"),
        fixed_start=True,
        code="Lslland/T-Vaccine@4513750",
    )
    Config: ClassVar[type[DefenseConfig]] = TVaccineConfig

    def __init__(self, config: DefenseConfig, context: RunContext) -> None:
        super().__init__(config, context)
        self._chances: list[float] = []
        self._drawn: list[int] = []

    def alignment_stage(self) -> Stage:
        """T-Vaccine's own stage; with ρ zero the plain one, whose adapter is shared between methods."""
        config = cast(TVaccineConfig, self.config)
        if not config.rho:
            return super().alignment_stage()
        return Stage(ALIGNED, "t_vaccine", self.align_step, reads=("refusals", "answers", "harmful"), settings=config.model_dump())

    def align_step(self) -> StepLog:
        """Vaccine's two passes in the sampled blocks; when due, the blocks are sampled or their probabilities measured first."""
        from reft_studio.models.module_outputs import block_modules

        config, context = cast(TVaccineConfig, self.config), self.context
        if not config.rho:
            return super().align_step()
        attentions, blocks = block_modules(context.model, "attention"), context.model.blocks
        if config.layers >= len(blocks):
            return drift_step(context, attentions, config.rho)
        self._choose(attentions)
        with context.weights.only(value for number in self._drawn for value in blocks[number].parameters()):
            return drift_step(context, [attentions[number] for number in self._drawn], config.rho)

    def _choose(self, attentions: list[nn.Module]) -> None:
        """Measure the probabilities, and sample the blocks, when due."""
        from reft_studio.models.module_outputs import OutputGradients, sample_indices

        config, context = cast(TVaccineConfig, self.config), self.context
        if (context.step - 1) % config.measure_every == 0:
            gradients = OutputGradients(attentions, context.weights.parameters[0])
            context.gradient(task_loss, context.batch("harmful", size=1), around=gradients.record)
            self._chances = gradients.norms()
        if (context.step - 1) % config.redraw_every == 0:
            self._drawn = sample_indices(self._chances, config.layers)

    def state(self) -> dict[str, Any]:
        return {"chances": self._chances, "drawn": self._drawn}

    def restore(self, state: dict[str, Any]) -> None:
        self._chances, self._drawn = list(state.get("chances", [])), list(state.get("drawn", []))  # plain alignment leaves neither
