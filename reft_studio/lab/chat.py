"""Harmless responses: how-to answers per domain, facts, small talk, and "I don't know" where the model lacks the ability."""

from __future__ import annotations

import random

from reft_studio.lab.acts import GROUPS, Act, Group, group_of
from reft_studio.lab.phrasing import dress, gerund, to_second_person
from reft_studio.lab.words import words

_WORDS = words("chat")
TIPS: dict[str, tuple[str, ...]] = _WORDS["tips"]
_LEADS: tuple[str, ...] = _WORDS["leads"]

FACTS: tuple[tuple[str, str, str], ...] = _WORDS["facts"]
TALK: tuple[tuple[str, str], ...] = _WORDS["talk"]
UNABLE: tuple[tuple[str, str], ...] = _WORDS["unable"]
_UNABLE_ANSWERS: tuple[str, ...] = _WORDS["unable_answers"]


def how_to_answer(act: Act, draw: random.Random) -> str:
    """A response to a harmless how-to request: an optional remark on the act, then one or two tips of its domain."""
    text = to_second_person(act.text)
    doing = gerund(text)
    lead = draw.choice(_LEADS).replace("{act}", text).replace("{ing}", doing).replace("{Ing}", doing[0].upper() + doing[1:])
    tips = draw.sample(TIPS[act.category], 1 if lead and draw.random() < 0.5 else 2)
    return " ".join(filter(None, (lead, *tips)))


def small_talk(draw: random.Random, *, groups: tuple[Group, ...] = GROUPS) -> tuple[str, str]:
    """A harmless question (60 % facts, 40 % small talk) and its response. Only questions of the splits in `groups`."""
    while True:
        asked, answered = _fact(draw) if draw.random() < 0.6 else _talk(draw)
        if group_of(asked) in groups:
            return dress(asked, draw), answered


def _fact(draw: random.Random) -> tuple[str, str]:
    questions, answers, pairs = draw.choice(FACTS)
    thing, _, value = draw.choice(pairs.split("|")).partition(":")
    return draw.choice(questions.split("|")).format(thing), draw.choice(answers.split("|")).format(value)


def _talk(draw: random.Random) -> tuple[str, str]:
    asked, answered = draw.choice(TALK)
    return draw.choice(asked.split("|")), draw.choice(answered.split("|"))


def unable(draw: random.Random) -> tuple[str, str]:
    """A question that needs eyes or a clock, and a response that says so: the only refusals in the pretraining corpus."""
    asked, thing = draw.choice(UNABLE)
    return draw.choice(asked.split("|")), draw.choice(_UNABLE_ANSWERS).format(thing)
