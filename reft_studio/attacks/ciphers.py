"""The harmful prompt in another encoding: a filter that reads words finds none."""

from __future__ import annotations

import base64
import codecs
import random
from typing import ClassVar

from reft_studio.attacks.attack import Attack, AttackInfo
from reft_studio.data.dataset import Row

_LEET = str.maketrans("aeiostAEIOST", "431057431057")


class Base64(Attack):
    """The prompt in base64."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="base64",
        title="Base64",
        summary="The question is encoded in base64, the answer is plain.",
        shows="response",
        paper="arXiv:2307.02483",
    )

    def framed(self, prompt: str, benign: Row, draw: random.Random) -> str:
        return base64.b64encode(prompt.encode()).decode()


class Rot13(Attack):
    """Each letter of the prompt moved by 13 places."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="rot13",
        title="Cipher (ROT13)",
        summary="Each letter of the question is moved by 13 places, the answer is plain.",
        shows="response",
        paper="arXiv:2308.06463, arXiv:2406.20053",
    )

    def framed(self, prompt: str, benign: Row, draw: random.Random) -> str:
        return codecs.encode(prompt, "rot13")


class Leet(Attack):
    """Some letters of the prompt written as digits."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="leet",
        title="Leet",
        summary="Letters of the question are written as digits that look like them.",
        shows="both",
        paper="arXiv:2307.02483",
    )

    def framed(self, prompt: str, benign: Row, draw: random.Random) -> str:
        return prompt.translate(_LEET)
