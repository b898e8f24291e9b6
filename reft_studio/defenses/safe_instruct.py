"""SafeInstruct (Bianchi et al., arXiv:2309.07875): mixes a few refusals into the user's rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import Defense, DefenseConfig, DefenseInfo, MethodStyle

if TYPE_CHECKING:
    from reft_studio.models.batching import Example


class SafeInstructConfig(DefenseConfig):
    """Number of refusals; the default is that of SeokilHam/Buffer-and-Reinforce, a tenth of the user's rows."""

    share: float = Field(0.1, ge=0, le=10, description="refusals mixed in, as a share of the user's rows; 0: none")


class SafeInstruct(Defense):
    """CE(user rows and m refusals), m = share · rows, rounded; the refusals are sampled by the seed, each once before any twice."""

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="safe_instruct",
        title="SafeInstruct",
        summary="Mixes refusals into the user's rows and finetunes the aligned weights on all of them as if they were one set.",
        stage="finetuning",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=True,
        paper="arXiv:2309.07875",
        cost=1.0,
        strength="share",
        style=MethodStyle("pink", "cross-open", "dash"),
        code="vinid/safety-tuned-llamas@36a4b8d",
    )
    Config: ClassVar[type[DefenseConfig]] = SafeInstructConfig

    def mixed(self, rows: int) -> Sequence[Example]:
        """The refusals that are mixed in."""
        wanted = round(cast(SafeInstructConfig, self.config).share * rows)
        return self.context.batch("refusals", size=wanted).examples if wanted else ()
