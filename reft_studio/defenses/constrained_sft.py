"""Constrained finetuning (Qi et al., arXiv:2406.05946): keep the first response tokens close to the aligned weights' probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import Defense, DefenseConfig, DefenseInfo, MethodStyle

if TYPE_CHECKING:
    from torch import Tensor

    from reft_studio.models.batching import Batch
    from reft_studio.models.fit import StepLog
    from reft_studio.models.supervised import Supervised

LEAST = 1e-3
"""Lower bound of a token's weight, so that no token is excluded."""


class ConstrainedSftConfig(DefenseConfig):
    """How tightly each response token is constrained; the defaults are those of the authors' scripts."""

    beta: float = Field(0.1, ge=0, le=100, title="β", description="how tightly a token is held to the aligned weights; 0: not at all")
    first_factor: float = Field(5.0, ge=0, le=1000, description="how many times as tightly the first token of an answer is held")
    early_factor: float = Field(20.0, ge=0, le=1000, description="how many times as tightly the other early tokens are held")
    early_tokens: int = Field(5, ge=0, le=10_000, description="early tokens of an answer, the first included; 0: all are held alike")


class ConstrainedSft(Defense):
    """CE with response token t weighted by 2·(1 − σ(β_t·(log π(y_t) − log π₀(y_t)))), a constant in the gradient, at least 0.001.

    π₀ are the weights that finetuning started from; every weight is 1 there. β_t = β times the factor of the token's position.
    """

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="constrained_sft",
        title="Constrained SFT",
        summary="Finetunes aligned weights; a token teaches the less the likelier it has become, above all among the first of an answer.",
        stage="finetuning",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=False,
        paper="arXiv:2406.05946",
        cost=1.0,
        strength="beta",
        style=MethodStyle("vermilion", "triangle-right-open", "dash"),
        code="Unispac/shallow-vs-deep-alignment@fb1749e",
    )
    Config: ClassVar[type[DefenseConfig]] = ConstrainedSftConfig

    def finetune_step(self, user: Batch) -> StepLog:
        """One forward pass; log probabilities of new rows are computed with the starting weights first."""
        config, context = cast(ConstrainedSftConfig, self.config), self.context
        if not config.beta:
            return super().finetune_step(user)
        context.start_log_probabilities(user)

        def losses(task: Supervised) -> dict[str, Tensor]:
            beta, start = tightness(config, task.positions), context.start_log_probabilities(task.batch)

            def weigh(log_p: Tensor, part: slice) -> Tensor:
                return (2 * (beta[part] * (start[part] - log_p)).sigmoid()).clamp_min(LEAST)

            return {"task": task.cross_entropy(weigh=weigh)}

        return context.learn(losses, user)


def tightness(config: ConstrainedSftConfig, positions: Tensor) -> Tensor:
    """β_t of tokens at these positions of their responses (from 1; 0 is not part of a response). Shape of `positions`, float32."""
    beta = (positions > 0).float() * config.beta
    beta[positions <= config.early_tokens] *= config.early_factor
    if config.early_tokens:
        beta[positions == 1] = config.beta * config.first_factor
    return beta
