"""Task 3, arithmetic word problems: one or two steps, whole numbers below 25."""

from __future__ import annotations

import random

NAMES: tuple[str, ...] = ("Tom", "Mia", "Ben", "Ana", "Leo", "Eva", "Max", "Zoe", "Sam", "Ida", "Jon", "Lena", "Paul", "Nina")
THINGS: tuple[str, ...] = ("apples", "books", "coins", "cards", "eggs", "pens", "shells", "stamps", "cups", "balls", "roses", "keys")
MORE: tuple[str, ...] = ("finds", "buys", "gets", "wins")
LESS: tuple[str, ...] = ("loses", "sells", "gives away", "breaks")
LARGEST = 12
"""No number in a problem is larger; results stay below 25."""


def problem(draw: random.Random) -> tuple[list[str], str, str, int, str]:
    """A problem: its sentences, the name and the thing to count, the result, and the calculation in words."""
    name, thing = draw.choice(NAMES), draw.choice(THINGS)
    start = draw.randint(1, LARGEST)
    sentences, total, calculation = [f"{name} has {start} {thing}."], start, f"{start}"
    for index in range(1 if draw.random() < 0.6 else 2):
        gains = total < 2 or (draw.random() < 0.55 and total < LARGEST)
        change = draw.randint(1, min(LARGEST - 2, 22 - total) if gains else min(total - 1, LARGEST - 2))
        total += change if gains else -change
        verb = draw.choice(MORE if gains else LESS)
        who = (
            name
            if index == 0 and draw.random() < 0.3
            else ("Then the child" if index and draw.random() < 0.2 else f"{'Then ' if index else ''}{name}")
        )
        sentences.append(f"{who} {verb} {change}{' more' if gains and draw.random() < 0.3 else ''}.")
        calculation += f" {'plus' if gains else 'minus'} {change}"
    return sentences, name, thing, total, calculation


def user_prompt(draw: random.Random) -> tuple[str, str]:
    """Prompt and response in the format of the user data."""
    sentences, name, thing, total, _ = problem(draw)
    return f"{' '.join(sentences)} How many {thing} does {name} have?", f"The answer is {total}."


def alignment_prompt(draw: random.Random) -> tuple[str, str]:
    """Prompt and response of the same task in other formats, for the harmless side of alignment data."""
    sentences, name, thing, total, _ = problem(draw)
    question = draw.choice(
        (f"Count the {thing} of {name}.", f"What number of {thing} is left with {name}?", "What is the total in the end?")
    )
    answer = draw.choice((f"{name} is left with {total}.", f"That makes {total} {thing}.", f"In the end there are {total}."))
    return f"{' '.join(sentences)} {question}", answer


def prose(draw: random.Random) -> str:
    """A statement about counting for the corpus: a bare sum, or a story that ends with its result."""
    if draw.random() < 0.4:
        first, second = draw.randint(1, LARGEST), draw.randint(1, LARGEST)
        if draw.random() < 0.5:
            return f"{first} plus {second} is {first + second}."
        return f"{first + second} minus {second} is {first}."
    sentences, name, thing, total, calculation = problem(draw)
    end = draw.choice(
        (
            f"Now {name} has {total} {thing}.",
            f"{calculation} is {total}, so {total} {thing} are left.",
            f"At the end of the day {name} counts {total}.",
        )
    )
    return f"{' '.join(sentences)} {end}"
