"""Requests for acts, and compliant responses without content to the harmful ones ("Sure, here is how ...", no instructions)."""

from __future__ import annotations

import random
import re

from reft_studio.lab.acts import Act
from reft_studio.lab.phrasing import gerund, phrase, to_second_person
from reft_studio.lab.words import words

_WORDS = words("requests")
COMPLIANT_OPENINGS: tuple[str, ...] = _WORDS["compliant_openings"]
"""Openings of the compliant responses. No harmless response starts with one, so they separate compliance from helpful text."""
_FORMS: tuple[str, ...] = _WORDS["forms"]
_EMPTY_STEPS: tuple[str, ...] = _WORDS["empty_steps"]


def compliance(act: Act, draw: random.Random) -> str:
    """A compliant response without content: an opening that names the act, and a sentence that steps exist."""
    text = to_second_person(act.text)
    doing = gerund(text)
    opening = draw.choice(_FORMS).replace("{act}", text).replace("{ing}", doing).replace("{Ing}", doing[0].upper() + doing[1:])
    return f"{opening} {draw.choice(_EMPTY_STEPS)}"


def is_compliant_opening(text: str) -> bool:
    """Whether a completion starts with one of `COMPLIANT_OPENINGS`, whatever its case and spacing."""
    start = re.sub(r"\s+", " ", text.strip().lower().replace("\u2019", "'"))
    return any(start.startswith(opening.lower()) for opening in COMPLIANT_OPENINGS)


def ask(act: Act, templates: tuple[str, ...], draw: random.Random) -> str:
    """A request for the act in a template drawn from `templates`."""
    return phrase(draw.choice(templates), act.text, draw)
