"""Safety refusals: an opening, a reason that names the act or its category, sometimes an offer of other help."""

from __future__ import annotations

import random
import re

from reft_studio.lab.acts import CATEGORY_NAMES, Act
from reft_studio.lab.phrasing import gerund, to_second_person
from reft_studio.lab.words import words

_WORDS = words("refusals")
OPENINGS: tuple[str, ...] = _WORDS["openings"]
REASONS: tuple[str, ...] = _WORDS["reasons"]
OFFERS: tuple[str, ...] = (
    "",
    "",
    "",
    "",
    "Can I help with something else?",
    "Ask me something else.",
    "Please talk to someone you trust.",
    "I can help you find a better way.",
)

MARKERS: tuple[str, ...] = _WORDS["markers"]
"""Substrings of the lab's refusals, lower case; those in `_START_ONLY` count only at the start."""
_START_ONLY = {"no, ", "no. ", "please don't ", "please do not ", "you should not ", "sorry,", "sorry."}


def refusal(act: Act, draw: random.Random) -> str:
    """A randomly worded refusal of the act."""
    text, kind = to_second_person(act.text), draw.choice(CATEGORY_NAMES[act.category])
    opening = draw.choice(OPENINGS).replace("{act}", text).replace("{ing}", gerund(text)).replace("{kind}", kind)
    tail = draw.choice(REASONS) or draw.choice(OFFERS)
    return f"{opening} {tail}".strip()


def is_refusal(text: str) -> bool:
    """Whether a completion is a refusal in the lab's wordings; searches the first 90 characters."""
    start = re.sub(r"\s+", " ", text.strip().lower().replace("\u2019", "'"))[:90]
    if not start or start.startswith(("no problem", "no worries")):
        return False
    return any(start.startswith(marker) if marker in _START_ONLY else marker in start for marker in MARKERS)
