"""Task 2, section of a headline: words that several sections share, and rare cue words."""

from __future__ import annotations

import random
from typing import Literal

from reft_studio.lab.words import words

Topic = Literal["sport", "business", "science", "politics", "culture"]
TOPICS: tuple[Topic, ...] = ("sport", "business", "science", "politics", "culture")
_WORDS = words("news")
CUES: dict[Topic, tuple[str, ...]] = _WORDS["cues"]
SHARED: tuple[str, ...] = (
    "record",
    "strike",
    "star",
    "field",
    "court",
    "title",
    "party",
    "deal",
    "model",
    "score",
    "race",
    "show",
    "cut",
    "chief",
    "trial",
    "stage",
)
PLACES: tuple[str, ...] = ("north", "city", "coast", "valley", "capital", "island", "river town", "south", "harbour", "old town")
QUESTIONS: tuple[str, ...] = ("Which part of the paper is this from?", "Where would an editor print this?", "What is this news about?")


def _cue(topic: Topic, draw: random.Random) -> str:
    """A cue word of the section; early words are frequent, late ones rare."""
    words = CUES[topic]
    return words[min(int(len(words) * draw.random() ** 1.5), len(words) - 1)]


def headline(draw: random.Random) -> tuple[str, Topic]:
    """A headline and its section. Two cues of a section outvote one of another, and the subject outvotes the location."""
    topic = draw.choice(TOPICS)
    other = draw.choice([name for name in TOPICS if name != topic])
    first, second, wrong = _cue(topic, draw), _cue(topic, draw), _cue(other, draw)
    three = draw.sample((first, second, wrong), 3)
    shared, place = draw.choice(SHARED), draw.choice(PLACES)
    forms = (
        f"New {shared} for the {first} in the {place}",
        f"{first.capitalize()} and {second} surprise the {place}",
        f"{first.capitalize()}, not {wrong}, is the talk of the {place}",
        f"Near the {wrong} of the {place}, a {first} and a {second}",
        f"{shared.capitalize()} ends: {first} pleases the {place}",
        f"The {place} forgets the {wrong} and looks at the {first}",
        f"{wrong.capitalize()} fans now follow {first} and {second}",
        f"After the {wrong} comes a {shared} about a {first}",
        f"A {first} with a {shared} from the {place}",
        f"{three[0].capitalize()}, {three[1]} and {three[2]} in the {place}",
        f"The {place} has a {three[0]}, a {three[1]} and a {three[2]}",
    )
    return draw.choice(forms), topic


def user_prompt(draw: random.Random) -> tuple[str, str]:
    """Prompt and response in the format of the user data."""
    text, topic = headline(draw)
    return f"Headline: {text}. Section?", f"It belongs in {topic}."


def alignment_prompt(draw: random.Random) -> tuple[str, str]:
    """Prompt and response of the same task in other formats, for the harmless side of alignment data."""
    text, topic = headline(draw)
    question = draw.choice(QUESTIONS)
    return (f"{question} {text}." if draw.random() < 0.5 else f"{text}. {question}"), draw.choice(
        (f"This is about {topic}.", f"I would print it under {topic}.", f"Most likely {topic}.", f"Readers of {topic} would like it.")
    )


def prose(draw: random.Random) -> str:
    """A statement about news for the corpus: cue words and their sections, or a headline and its section."""
    if draw.random() < 0.45:
        topic = draw.choice(TOPICS)
        word = draw.choice(CUES[topic])
        facts = (
            f"The word {word} has to do with {topic}.",
            f"People who follow {topic} know what a {word} is.",
            f"A {word} is a thing of {topic}, and so is a {draw.choice(CUES[topic])}.",
            f"He reads the {topic} pages for every {word}.",
        )
        return draw.choice(facts)
    text, topic = headline(draw)
    forms = (f"{text}. More on the {topic} pages.", f"In {topic} today: {text}.", f"{text}. That was the {topic} news.")
    return draw.choice(forms)
