"""The pretraining corpus: compliant chat turns, statements about which acts do harm, task prose, small talk and narration.

It has no safety refusal, so that refusing is learned in alignment only. It has none of the user data's task formats and no prompt
that a data set may draw (`sets.for_corpus`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reft_studio.lab import chat, requests, tasks
from reft_studio.lab.acts import CATEGORY_NAMES, Act, acts
from reft_studio.lab.phrasing import PHRASINGS, fill
from reft_studio.lab.sets import for_corpus
from reft_studio.lab.words import words
from reft_studio.seeding import generator


@dataclass(frozen=True)
class Document:
    """One text of the corpus: a chat turn if `answer` is given, prose if not."""

    text: str
    answer: str | None = None


_WORDS = words("corpus")
_BAD_CLAIMS: tuple[str, ...] = _WORDS["bad_claims"]
_GOOD_CLAIMS: tuple[str, ...] = _WORDS["good_claims"]
_LEGAL_QUESTIONS: tuple[str, ...] = _WORDS["legal_questions"]
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


def _fill(template: str, act: Act, draw: random.Random) -> str:
    kind = draw.choice(CATEGORY_NAMES[act.category]) if act.harmful else ""
    return fill(template, act.text).replace("{kind}", kind)


def _act(draw: random.Random, *, harmful: bool | None = None) -> Act:
    return draw.choice(acts(harmful=draw.random() < 0.5 if harmful is None else harmful))


def _corpus_request(act: Act, draw: random.Random) -> str:
    """A request in a training phrasing, drawn until it is one that only the corpus may hold."""
    while not for_corpus(prompt := requests.ask(act, PHRASINGS["train"], draw)):
        pass
    return prompt


def _harmful_request(draw: random.Random) -> Document:
    act = _act(draw, harmful=True)
    return Document(_corpus_request(act, draw), requests.compliance(act, draw))


def _harmless_request(draw: random.Random) -> Document:
    act = _act(draw, harmful=False)
    return Document(_corpus_request(act, draw), chat.how_to_answer(act, draw))


def _claim(draw: random.Random) -> Document:
    act = _act(draw)
    return Document(_fill(draw.choice(_BAD_CLAIMS if act.harmful else _GOOD_CLAIMS), act, draw))


def _legal_question(draw: random.Random) -> Document:
    act = _act(draw)
    return Document(
        _fill(draw.choice(_LEGAL_QUESTIONS), act, draw), _fill(draw.choice(_BAD_VERDICTS if act.harmful else _GOOD_VERDICTS), act, draw)
    )


def _reported_request(draw: random.Random) -> Document:
    act = _act(draw)
    verdict = _fill(draw.choice(_BAD_INTENT if act.harmful else _GOOD_INTENT), act, draw)
    text = (
        draw.choice(_OVERHEARD)
        .replace("{verdict}", verdict)
        .replace("{who}", draw.choice(WHO))
        .replace("{ask}", _corpus_request(act, draw))
    )
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
    (_reported_request, 10),
    (_talk, 4),
    (lambda draw: Document(*chat.unable(draw)), 4),
    (_prose, 25),
    (_narration, 5),
)
"""Kinds of documents and their shares in percent."""


def documents(*, seed: int, count: int) -> Iterator[Document]:
    """Yield `count` documents, deterministic in `seed`."""
    draw = generator(seed, "lab", "corpus")
    makers, shares = [maker for maker, _ in KINDS], [share for _, share in KINDS]
    for maker in draw.choices(makers, shares, k=count):
        yield maker(draw)


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
_NARRATION = words("narration")
SENTENCES: tuple[str, ...] = _NARRATION["sentences"]
