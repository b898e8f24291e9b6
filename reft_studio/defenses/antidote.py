"""Antidote (Huang et al., arXiv:2408.09600): after finetuning, prune the weights that matter most to harmful responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from reft_studio.defenses.defense import Defense, DefenseConfig, DefenseInfo, MethodStyle

if TYPE_CHECKING:
    from reft_studio.models.low_rank import Layers

AT_ONCE = 16
"""Harmful rows per batch."""


class AntidoteConfig(DefenseConfig):
    """Share of pruned entries and number of harmful rows; the defaults are those of git-disl/Antidote."""

    ratio: float = Field(0.1, ge=0, le=1, title="ρ", description="share ρ of the entries of each row of A and B that is pruned; 0: none")
    rows: int = Field(
        2000, ge=1, le=1_000_000, description="harmful answers that are read to find them, the first ones; all if there are fewer"
    )


class Antidote(Defense):
    """In each row of A and of B, resets the share ρ of entries with the largest Wanda score |M_ij|·√s_j to their value before finetuning.

    s_j sums the squares of the matrix's input j over the tokens of harmful prompts and responses. M is the change made by finetuning:
    the matrix itself in a fresh adapter (pruned to zero), its difference to the aligned weights in a continued one.
    """

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="antidote",
        title="Antidote",
        summary="Finetunes from aligned weights, then takes back the changes that matter most to harmful answers.",
        stage="post-finetuning",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=False,
        needs_harmful=True,
        paper="arXiv:2408.09600",
        cost=1.0,
        strength="ratio",
        style=MethodStyle("ink", "pentagon-open", "dash"),
        code="git-disl/Antidote@26e2ade",
    )
    Config: ClassVar[type[DefenseConfig]] = AntidoteConfig

    def finish(self, layers: Layers) -> None:
        """Read harmful responses, then prune both matrices of each layer in place."""
        from reft_studio.models.pruning import InputSizes, prune_largest

        config, context = cast(AntidoteConfig, self.config), self.context
        if not config.ratio:
            return
        rows, sizes = context.examples("harmful")[: config.rows], InputSizes(layers)
        for start in range(0, len(rows), AT_ONCE):
            context.read(context.collate(rows[start : start + AT_ONCE]), around=sizes.around, dropout=False)
        for name, (into_down, into_up) in sizes.of.items():
            layer = layers[name]
            up, down = layer.begun
            prune_largest(layer.down, down, into_down, config.ratio)
            prune_largest(layer.up, up, into_up, config.ratio)
