"""Plain finetuning that starts from safety-aligned weights: what most finetuning services do."""

from __future__ import annotations

from typing import ClassVar

from reft_studio.defenses.defense import Defense, DefenseInfo, MethodStyle


class AlignedSft(Defense):
    """Continues the adapter of the aligned weights (the single-adapter scheme) on all user data."""

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="aligned_sft",
        title="Aligned weights, then SFT",
        summary="Starts from weights that were trained to refuse, then finetunes on every row. Shows whether alignment survives.",
        stage="none",
        starts_from="aligned",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=False,
        paper="baseline of arXiv:2506.07356",
        cost=1.0,
        strength=None,
        style=MethodStyle("blue", "square", "dash"),
    )
