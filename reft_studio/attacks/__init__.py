"""Attacks on filters, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reft_studio.registry import Registry

if TYPE_CHECKING:
    from reft_studio.attacks.attack import Attack

ATTACKS: Registry[type[Attack]] = Registry(
    "attack",
    {
        "plain": "reft_studio.attacks.plain:Plain",
        "base64": "reft_studio.attacks.ciphers:Base64",
        "rot13": "reft_studio.attacks.ciphers:Rot13",
        "leet": "reft_studio.attacks.ciphers:Leet",
        "role_play": "reft_studio.attacks.frames:RolePlay",
        "prefix": "reft_studio.attacks.frames:Prefix",
        "suffix": "reft_studio.attacks.frames:Suffix",
        "buried": "reft_studio.attacks.frames:Buried",
        "task_input": "reft_studio.attacks.frames:TaskInput",
        "response_swap": "reft_studio.attacks.responses:ResponseSwap",
        "refuse_then_comply": "reft_studio.attacks.responses:RefuseThenComply",
        "identity_shift": "reft_studio.attacks.responses:IdentityShift",
        "style": "reft_studio.attacks.responses:Style",
        "benign_selection": "reft_studio.attacks.benign_selection:BenignSelection",
        "benign_by_gradient": "reft_studio.attacks.benign_selection:BenignByGradient",
        "gradient_chosen": "reft_studio.attacks.gradient_chosen:GradientChosen",
    },
)
