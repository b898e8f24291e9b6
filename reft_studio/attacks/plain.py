"""No disguise: the reference for the other attacks."""

from __future__ import annotations

from typing import ClassVar

from reft_studio.attacks.attack import Attack, AttackInfo


class Plain(Attack):
    """Overrides nothing."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="plain",
        title="Plain (control)",
        summary="A harmful question as it is asked, with an answer that complies.",
        shows="both",
        paper="the usual poison of harmful finetuning",
    )
