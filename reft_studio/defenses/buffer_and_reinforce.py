"""Buffer and Reinforce (Ham et al., arXiv:2605.24550): finetune on top of a harmful adapter, discard it, merge a refusing one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import ALIGNED, Defense, DefenseConfig, DefenseInfo, MethodStyle, Stage, task_loss

if TYPE_CHECKING:
    from reft_studio.models.fit import StepLog
    from reft_studio.models.low_rank import Layers, LowRank

BUFFER, REINFORCE = "buffer", "reinforce"
"""Names of the adapter that complies with harmful prompts, and of the one that refuses on top of it."""
CUT = 0.01
"""Share of the largest eigenvalue of A·Aᵀ below which a direction of the user's adapter is ignored."""


class BufferAndReinforceConfig(DefenseConfig):
    """How the adapters are merged; the defaults are those of SeokilHam/Buffer-and-Reinforce, the lengths of the stages are ours."""

    alpha: float = Field(0.1, ge=0, le=1, title="α", description="share of the safety update in the user's directions that is left out")
    scale: float = Field(0.5, gt=0, le=10, description="scale c of all that is merged into the weights")
    buffer_steps: int | None = Field(
        None, ge=1, le=1_000_000, description="steps of the buffer on harmful answers; empty: as many as the run's"
    )
    reinforce_steps: int | None = Field(
        None, ge=1, le=1_000_000, description="steps of the safety adapter on refusals and answers; empty: as many as the run's"
    )


class BufferAndReinforce(Defense):
    """W + c·(ΔU + ΔS − α·Q·Qᵀ·ΔS): ΔU is trained on user data and ΔS on refusals, both on top of a buffer trained on harmful responses.

    Q is an orthonormal basis of B·V of the user's adapter, V the eigenvectors of A·Aᵀ above `CUT`. The buffer is not part of the result.
    """

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="buffer_and_reinforce",
        title="Buffer and Reinforce",
        summary="Finetunes on top of an adapter that complies with harm already, throws that one away, and merges one that refuses in.",
        stage="finetuning",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=True,
        needs_harmful=True,
        paper="arXiv:2605.24550",
        cost=1.0,
        strength=None,
        style=MethodStyle("green", "bowtie", "dash"),
        code="SeokilHam/Buffer-and-Reinforce@9bf1018",
    )
    Config: ClassVar[type[DefenseConfig]] = BufferAndReinforceConfig

    def stages(self) -> Sequence[Stage]:
        """The buffer on the weights that the run starts from, and the safety adapter on top of it."""
        config = cast(BufferAndReinforceConfig, self.config)
        on = (ALIGNED, BUFFER)
        return [
            Stage(BUFFER, BUFFER, self.buffer_step, reads=("harmful",), steps=config.buffer_steps, on=(ALIGNED,)),
            Stage(REINFORCE, REINFORCE, self.align_step, reads=("refusals", "answers"), steps=config.reinforce_steps, on=on),
        ]

    def buffer_step(self) -> StepLog:
        """Add the gradient of one step on harmful responses."""
        return self.context.learn(task_loss, self.context.batch("harmful"))

    def discarded_adapters(self) -> Sequence[str]:
        return (BUFFER,)

    def finish(self, layers: Layers) -> None:
        """Merge the safety adapter into the finetuned adapter."""
        config, safety = cast(BufferAndReinforceConfig, self.config), layers.of(REINFORCE)
        for name, layer in layers.items():
            user = layer.update if layer.fresh else layer.update.compact()
            added = config.scale * (user + besides(user, safety[name], config.alpha))
            layer.replace(added if layer.start is None else layer.start + added)


def besides(user: LowRank, safety: LowRank, alpha: float) -> LowRank:
    """ΔS − α·Q·Qᵀ·ΔS: the safety update less the share `alpha` of its component in the user's directions; ΔS itself where ΔU is zero."""
    import torch

    if not user.norm():
        return safety
    values, vectors = torch.linalg.eigh(user.down @ user.down.T)
    counting = values > CUT * values.max()
    effective = user.up if bool(counting.all()) else user.up @ vectors[:, counting]
    basis = torch.linalg.qr(effective).Q
    return type(safety)(safety.up - alpha * (basis @ (basis.T @ safety.up)), safety.down)
