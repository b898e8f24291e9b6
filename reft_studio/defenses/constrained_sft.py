"""Constrained finetuning (Qi et al., arXiv:2406.05946): the first tokens of an answer may not move far from the aligned weights."""

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
"""Least weight of a token: none is left out for good."""


class ConstrainedSftConfig(DefenseConfig):
    """How tightly each place of an answer is held; the defaults are those of the authors' scripts."""

    beta: float = Field(0.1, ge=0, le=100, title="β", description="how tightly a token is held to the aligned weights; 0: not at all")
    first_factor: float = Field(5.0, ge=0, le=1000, description="how many times as tightly the first token of an answer is held")
    early_factor: float = Field(20.0, ge=0, le=1000, description="how many times as tightly the other early tokens are held")
    early_tokens: int = Field(5, ge=0, le=10_000, description="early tokens of an answer, the first included; 0: all are held alike")


class ConstrainedSft(Defense):
    """CE with token t of an answer weighing 2·(1 − σ(β_t·(log π(y_t) − log π₀(y_t)))), a constant of the gradient, and never below 0.001.

    π₀ are the weights that training began from; every weight is 1 there. β_t = β times the factor of its place.
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
        look=MethodStyle("vermilion", "triangle-right-open", "dash"),
        code="Unispac/shallow-vs-deep-alignment@fb1749e",
    )
    Config: ClassVar[type[DefenseConfig]] = ConstrainedSftConfig

    def finetune_step(self, user: Batch) -> StepLog:
        """One forward; rows that are new are read by the starting weights first."""
        config, context = cast(ConstrainedSftConfig, self.config), self.context
        if not config.beta:
            return super().finetune_step(user)
        context.start_log_probabilities(user)

        def losses(task: Supervised) -> dict[str, Tensor]:
            held, begun = tightness(config, task.places), context.start_log_probabilities(task.batch)

            def weigh(log_p: Tensor, part: slice) -> Tensor:
                return (2 * (held[part] * (begun[part] - log_p)).sigmoid()).clamp_min(LEAST)

            return {"task": task.cross_entropy(weigh=weigh)}

        return context.learn(losses, user)


def tightness(config: ConstrainedSftConfig, places: Tensor) -> Tensor:
    """β_t of tokens at these places of their answers, from 1."""
    held = (places > 0).float() * config.beta
    held[places <= config.early_tokens] *= config.early_factor
    if config.early_tokens:
        held[places == 1] = config.beta * config.first_factor
    return held
