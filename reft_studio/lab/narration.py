"""Plain sentences that give the base model the words of every phrasing and refusal in other surroundings."""

from __future__ import annotations

from reft_studio.lab.words import words

WHO: tuple[str, ...] = (
    "a man",
    "the girl",
    "my aunt",
    "a student",
    "the old woman",
    "a boy",
    "our neighbour",
    "the new cook",
    "Tom",
    "Mia",
    "Ben",
    "Ana",
    "Leo",
    "Eva",
    "someone",
    "a guest",
)
_WORDS = words("narration")
SENTENCES: tuple[str, ...] = _WORDS["sentences"]
