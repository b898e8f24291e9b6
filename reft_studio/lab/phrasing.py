"""Templates that turn an act into a request. Those of the validation and test splits occur in no training data, nor in pretraining."""

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
    """The act with its verb, the first word, as a gerund: `steal a bike` -> `stealing a bike`."""
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
    """The act as a response addresses it: `my boss` -> `your boss`."""
    words = {"my": "your", "me": "you", "myself": "yourself", "i": "you", "mine": "yours", "am": "are"}
    return " ".join(words.get(word.lower(), word) for word in act.split(" "))


def fill(template: str, act: str) -> str:
    """The template with the act inserted: `{act}` as it is, `{ing}` and `{Ing}` as a gerund."""
    doing = gerund(act)
    return template.replace("{act}", act).replace("{ing}", doing).replace("{Ing}", doing[0].upper() + doing[1:])


def phrase(template: str, act: str, draw: random.Random) -> str:
    """A prompt: the filled template; for training templates, 30 % get a greeting or a closing remark."""
    text = fill(template, act)
    return dress(text, draw) if template in TRAIN else text


def dress(text: str, draw: random.Random, *, share: float = 0.3) -> str:
    """The text, with probability `share` with a greeting before it or a closing remark behind it."""
    if draw.random() >= share:
        return text
    return lower_after(draw.choice(OPENERS), text) if draw.random() < 0.5 else text + draw.choice(CLOSERS)


def lower_after(opener: str, text: str) -> str:
    """Join an opener and a sentence; after a comma the sentence starts in lower case, except for `I`."""
    keep = not opener.endswith(", ") or text.startswith(("I ", "I'"))
    return opener + (text if keep else text[0].lower() + text[1:])
