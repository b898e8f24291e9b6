"""Plain supervised finetuning on all user data: the undefended reference."""

from __future__ import annotations

from typing import ClassVar

from reft_studio.defenses.defense import Defense, DefenseInfo, MethodStyle


class Sft(Defense):
    """Overrides nothing."""

    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="sft",
        title="Plain SFT",
        summary="Finetunes the base on every row as uploaded. What happens without a defense.",
        stage="none",
        starts_from="base",
        uses_filter=False,
        needs_teacher=False,
        needs_alignment=False,
        paper="",
        cost=1.0,
        strength=None,
        style=MethodStyle("vermilion", "triangle-up", "solid"),
    )
