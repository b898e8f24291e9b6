"""Filter only: drop the rows that the refusal-feature filter flags, then plain finetuning. Ref-Teacher without distillation."""

from __future__ import annotations

from typing import ClassVar

from reft_studio.defenses.defense import Defense, DefenseInfo, MethodStyle


class FilterOnly(Defense):
    """Plain finetuning on the rows below the threshold."""

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="filter_only",
        title="Filter only",
        summary="Removes the rows that the filter flags, then finetunes the base on the rest. Nothing teaches the model to refuse.",
        stage="filter",
        starts_from="base",
        uses_filter=True,
        needs_teacher=False,
        needs_alignment=False,
        paper="ablation of arXiv:2506.07356",
        cost=1.0,
        strength=None,
        style=MethodStyle("orange", "pentagon", "longdash"),
    )
