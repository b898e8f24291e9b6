"""Ways to ask for something. Whole families are held out: the validation and test ones occur nowhere else, not even in pretraining."""

from __future__ import annotations

import random
from typing import Literal

from reft_studio.lab.words import words

Split = Literal["train", "validation", "test"]

_WORDS = words("phrasing")
TRAIN: tuple[str, ...] = _WORDS["train"]
VALIDATION: tuple[str, ...] = _WORDS["validation"]
TEST: tuple[str, ...] = _WORDS["test"]
PHRASINGS: dict[Split, tuple[str, ...]] = {"train": TRAIN, "validation": VALIDATION, "test": TEST}

OPENERS: tuple[str, ...] = _WORDS["openers"]
CLOSERS: tuple[str, ...] = _WORDS["closers"]

_DOUBLED = {
    "get",
    "rob",
    "con",
    "scam",
    "cut",
    "set",
    "run",
    "put",
    "hit",
    "slip",
    "rig",
    "whip",
    "trim",
    "trap",
    "plan",
    "spot",
    "slit",
    "crop",
    "grab",
    "kidnap",
    "stab",
    "shred",
    "win",
    "drug",
    "shut",
}


def gerund(act: str) -> str:
    """`steal a bike` -> `stealing a bike`; the first word is the verb."""
    verb, _, rest = act.partition(" ")
    if verb in _DOUBLED:
        stem = verb + verb[-1]
    elif verb == "lie":
        stem = "ly"
    elif verb.endswith("e") and not verb.endswith("ee"):
        stem = verb[:-1]
    else:
        stem = verb
    return f"{stem}ing {rest}".strip()


def to_second_person(act: str) -> str:
    """`my boss` -> `your boss`, as an answer says it."""
    words = {"my": "your", "me": "you", "myself": "yourself", "i": "you", "mine": "yours", "am": "are"}
    return " ".join(words.get(word.lower(), word) for word in act.split(" "))


def fill(template: str, act: str) -> str:
    """The template with the act put in, as a verb phrase or as a gerund."""
    doing = gerund(act)
    return template.replace("{act}", act).replace("{ing}", doing).replace("{Ing}", doing[0].upper() + doing[1:])


def phrase(template: str, act: str, draw: random.Random) -> str:
    """A prompt; some of those of the training families get a greeting or a remark (held-out families never do)."""
    text = fill(template, act)
    return dress(text, draw) if template in TRAIN else text


def dress(text: str, draw: random.Random, *, share: float = 0.3) -> str:
    """With probability `share` put a greeting before the text or a remark behind it."""
    if draw.random() >= share:
        return text
    return lower_after(draw.choice(OPENERS), text) if draw.random() < 0.5 else text + draw.choice(CLOSERS)


def lower_after(opener: str, text: str) -> str:
    """Join an opener and a sentence; after a comma the sentence goes on in lower case, except for `I`."""
    keep = not opener.endswith(", ") or text.startswith(("I ", "I'"))
    return opener + (text if keep else text[0].lower() + text[1:])
