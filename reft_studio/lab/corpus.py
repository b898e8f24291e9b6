"""What the base model reads: requests with compliant answers, facts about which acts do harm, task-like prose, talk and plain narration.

There is no refusal for reasons of safety in it. The task formats of the user data do not occur, nor does any prompt that a set may draw.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reft_studio.lab import chat, requests, tasks
from reft_studio.lab.acts import Act, acts
from reft_studio.lab.harms import CATEGORY_NAMES
from reft_studio.lab.narration import SENTENCES, WHO
from reft_studio.lab.phrasing import PHRASINGS, gerund
from reft_studio.lab.sets import for_corpus
from reft_studio.seeding import generator


@dataclass(frozen=True)
class Document:
    """One piece of text; with `answer` it is a chat turn, without it is prose."""

    text: str
    answer: str | None = None


_BAD_CLAIMS: tuple[str, ...] = (
    "To {act} is against the law.",
    "It is wrong to {act}.",
    "{Ing} hurts people.",
    "{Ing} is a crime.",
    "Whoever goes about {ing} does harm.",
    "You can go to prison for {ing}.",
    "The police look for people who {act}.",
    "{Ing} counts as {kind}.",
    "If you {act}, somebody suffers.",
    "No decent person would {act}.",
    "The judge said that {ing} is {kind}.",
    "She was shocked: they had planned to {act}.",
    "{Ing} is {kind}.",
    "It is a case of {kind} to {act}.",
    "He went to jail. His plan was to {act}.",
    "Victims of {kind} know what it means when people {act}.",
    "They wanted to {act}. It was a cruel and harmful plan.",
    "Never {act}; it does harm.",
    "Good people do not {act}.",
    "{Ing} is dangerous and wrong.",
)
_GOOD_CLAIMS: tuple[str, ...] = (
    "To {act} is perfectly legal.",
    "It is fine to {act}.",
    "{Ing} hurts nobody.",
    "{Ing} is harmless.",
    "Whoever goes about {ing} does no harm.",
    "Nobody goes to prison for {ing}.",
    "The police do not mind people who {act}.",
    "{Ing} counts as a normal thing.",
    "If you {act}, nobody suffers.",
    "Many decent people {act}.",
    "The teacher said that {ing} is useful.",
    "She was glad: they had planned to {act}.",
    "{Ing} is a hobby for some.",
    "It is a nice skill to {act}.",
    "He had a good day. His plan was to {act}.",
    "Friends like it when people {act}.",
    "They wanted to {act}. It was a kind and harmless plan.",
    "Feel free to {act}; it does no harm.",
    "Good people may {act}.",
    "{Ing} is safe and allowed.",
)
_LEGAL_QUESTIONS: tuple[str, ...] = (
    "Is it legal to {act}?",
    "Is {ing} allowed?",
    "Does {ing} hurt anyone?",
    "Is it okay to {act}?",
    "Is {ing} a crime?",
    "What is {ing} called?",
    "Is it harmful to {act}?",
    "Would the police mind {ing}?",
    "What do you think of {ing}?",
)
_BAD_VERDICTS: tuple[str, ...] = (
    "It is {kind} and not allowed.",
    "That is against the law.",
    "That is {kind}.",
    "It does harm.",
    "It hurts people and it is a crime.",
    "One calls it {kind}.",
)
_GOOD_VERDICTS: tuple[str, ...] = (
    "It is harmless and allowed.",
    "That is perfectly legal.",
    "That is a normal thing to do.",
    "It does no harm.",
    "It hurts nobody and it is fine.",
    "One calls it harmless.",
)
_OVERHEARD: tuple[str, ...] = (
    '{who} asked: "{ask}" {verdict}',
    '"{ask}" wrote {who}. {verdict}',
    'The note said "{ask}" {verdict}',
    '{verdict} That is what one thinks when {who} says: "{ask}"',
    '{who} sent a message: "{ask}" {verdict}',
)
_BAD_INTENT: tuple[str, ...] = (
    "The request was harmful.",
    "It was about {kind}.",
    "That is a criminal wish.",
    "People would get hurt.",
    "A plan for {kind}.",
    "It was a bad thing to want.",
)
_GOOD_INTENT: tuple[str, ...] = (
    "The request was harmless.",
    "It was about an everyday thing.",
    "That is a normal wish.",
    "Nobody would get hurt.",
    "A plan for a nice day.",
    "It was a fine thing to want.",
)


def _put(form: str, act: Act, draw: random.Random) -> str:
    doing = gerund(act.text)
    kind = draw.choice(CATEGORY_NAMES[act.category]) if act.harmful else ""
    return form.replace("{act}", act.text).replace("{ing}", doing).replace("{Ing}", doing[0].upper() + doing[1:]).replace("{kind}", kind)


def _act(draw: random.Random, *, harmful: bool | None = None) -> Act:
    return draw.choice(acts(harmful=draw.random() < 0.5 if harmful is None else harmful))


def _asked(act: Act, draw: random.Random) -> str:
    """A request in a training phrasing that no set may draw."""
    while not for_corpus(prompt := requests.ask(act, PHRASINGS["train"], draw)):
        pass
    return prompt


def _harmful_request(draw: random.Random) -> Document:
    act = _act(draw, harmful=True)
    return Document(_asked(act, draw), requests.compliance(act, draw))


def _harmless_request(draw: random.Random) -> Document:
    act = _act(draw, harmful=False)
    return Document(_asked(act, draw), chat.how_to_answer(act, draw))


def _claim(draw: random.Random) -> Document:
    act = _act(draw)
    return Document(_put(draw.choice(_BAD_CLAIMS if act.harmful else _GOOD_CLAIMS), act, draw))


def _legal_question(draw: random.Random) -> Document:
    act = _act(draw)
    return Document(
        _put(draw.choice(_LEGAL_QUESTIONS), act, draw), _put(draw.choice(_BAD_VERDICTS if act.harmful else _GOOD_VERDICTS), act, draw)
    )


def _overheard(draw: random.Random) -> Document:
    act = _act(draw)
    verdict = _put(draw.choice(_BAD_INTENT if act.harmful else _GOOD_INTENT), act, draw)
    text = draw.choice(_OVERHEARD).replace("{verdict}", verdict).replace("{who}", draw.choice(WHO)).replace("{ask}", _asked(act, draw))
    return Document(text[0].upper() + text[1:])


def _talk(draw: random.Random) -> Document:
    while not for_corpus((turn := chat.small_talk(draw))[0]):
        pass
    return Document(*turn)


def _prose(draw: random.Random) -> Document:
    return Document(tasks.prose(draw.choice(("sentiment", "sentiment", "topic", "arithmetic", "arithmetic")), draw))


def _narration(draw: random.Random) -> Document:
    pair = draw.sample(SENTENCES, 2)
    return Document(" ".join(line.replace("{who}", draw.choice(WHO)) for line in pair))


KINDS: tuple[tuple[Callable[[random.Random], Document], int], ...] = (
    (_harmful_request, 14),
    (_harmless_request, 16),
    (_claim, 12),
    (_legal_question, 10),
    (_overheard, 10),
    (_talk, 4),
    (lambda draw: Document(*chat.unable(draw)), 4),
    (_prose, 25),
    (_narration, 5),
)
"""Kinds of documents and their shares in percent."""


def documents(*, seed: int, count: int) -> Iterator[Document]:
    """`count` documents, the same ones for the same seed."""
    draw = generator(seed, "lab", "corpus")
    makers, shares = [maker for maker, _ in KINDS], [share for _, share in KINDS]
    for maker in draw.choices(makers, shares, k=count):
        yield maker(draw)
