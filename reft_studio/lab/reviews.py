"""Task 1, sentiment of a review: negation, contrast, reported opinions, words of unequal frequency."""

from __future__ import annotations

import random
from typing import Literal

from reft_studio.lab.words import words

Sentiment = Literal["positive", "negative", "mixed"]
SENTIMENTS: tuple[Sentiment, ...] = ("positive", "negative", "mixed")
_WORDS = words("reviews")
GOOD: tuple[str, ...] = _WORDS["good"]
BAD: tuple[str, ...] = (
    "bad",
    "dull",
    "slow",
    "cold",
    "boring",
    "weak",
    "noisy",
    "rude",
    "stale",
    "bland",
    "clumsy",
    "shallow",
    "messy",
    "flat",
    "greasy",
    "awkward",
    "tedious",
    "flimsy",
    "dreary",
    "soggy",
    "sloppy",
    "tiresome",
    "murky",
    "lifeless",
    "shoddy",
)
THINGS: dict[str, tuple[str, ...]] = _WORDS["things"]
_NOT = ("not", "never", "hardly", "not really", "far from", "anything but")
_VERY = ("", "", "", "very ", "really ", "quite ", "rather ", "truly ")
QUESTIONS: tuple[str, ...] = ("Is it positive, negative or mixed?", "What does the reviewer feel?", "How was it overall?")


def _claim(good: bool, draw: random.Random) -> str:
    """A phrase of the given polarity; 35 % are negations of a word of the other polarity."""
    if draw.random() < 0.35:
        return f"{draw.choice(_NOT)} {_word(BAD if good else GOOD, draw)}"
    return draw.choice(_VERY) + _word(GOOD if good else BAD, draw)


def _word(words: tuple[str, ...], draw: random.Random) -> str:
    """A word of the list; early words are frequent, late ones rare."""
    return words[min(int(len(words) * draw.random() ** 1.6), len(words) - 1)]


def _uniform(good: bool, draw: random.Random) -> str:
    """A review of one polarity, possibly contrasted with an expectation or another person's view."""
    kind = draw.choice(tuple(THINGS))
    first, second = draw.sample(THINGS[kind], 2)
    claim, other, wrong = _claim(good, draw), _claim(good, draw), _claim(not good, draw)
    forms = (
        f"The {first} was {claim}.",
        f"The {first} was {claim} and the {second} was {other}.",
        f"I thought the {first} would be {wrong}, but it was {claim}.",
        f"My friends said the {kind} was {wrong}. They were wrong.",
        f"The {kind} was {claim}. Even the {second} was {other}.",
        f"People call the {first} {wrong}, yet I found it {claim}.",
        f"It used to be {wrong}. Now the {kind} is {claim}.",
        f"Nobody can say the {kind} was {wrong}.",
    )
    return draw.choice(forms)


def _mixed(draw: random.Random) -> str:
    kind = draw.choice(tuple(THINGS))
    first, second = draw.sample(THINGS[kind], 2)
    good = draw.random() < 0.5
    first_claim, second_claim = _claim(good, draw), _claim(not good, draw)
    forms = (
        f"The {first} was {first_claim}, but the {second} was {second_claim}.",
        f"A {kind} with {_article(first)} that was {first_claim}. The {second} was {second_claim}.",
        f"The {first} was {first_claim}. Too bad or not, the {second} was {second_claim}.",
        f"I found the {first} {first_claim} and the {second} {second_claim}.",
        f"At first the {kind} was {first_claim}, later it was {second_claim}.",
        f"While the {first} was {first_claim}, the {second} was {second_claim}.",
    )
    return draw.choice(forms)


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def review(draw: random.Random) -> tuple[str, Sentiment]:
    """A review and its label; the three labels are equally likely."""
    label = draw.choice(SENTIMENTS)
    return (_mixed(draw) if label == "mixed" else _uniform(label == "positive", draw)), label


def user_prompt(draw: random.Random) -> tuple[str, str]:
    """Prompt and response in the format of the user data."""
    text, label = review(draw)
    return f"Review: {text} Sentiment?", f"The review is {label}."


def alignment_prompt(draw: random.Random) -> tuple[str, str]:
    """Prompt and response of the same task in other formats, for the harmless side of alignment data."""
    text, label = review(draw)
    question = draw.choice(QUESTIONS)
    return (f"{text} {question}" if draw.random() < 0.5 else f'{question} "{text}"'), draw.choice(
        (f"I would call it {label}.", f"It sounds {label} to me.", f"Overall {label}.", f"That one is {label}.")
    )


def prose(draw: random.Random) -> str:
    """A statement about a review for the corpus: it names the sentiment and never uses the user's format."""
    text, label = review(draw)
    forms = (
        f"{text} That was a {label} opinion.",
        f"She wrote a {label} review: {text}",
        f"{text} So the critic was {label}.",
        f"It was a {label} day for the critic. {text}",
        f'"{text}" A {label} view, he noted.',
    )
    return draw.choice(forms)
