"""Task 3: word problems of one or two steps with small whole numbers."""

from __future__ import annotations

import random

NAMES: tuple[str, ...] = ("Tom", "Mia", "Ben", "Ana", "Leo", "Eva", "Max", "Zoe", "Sam", "Ida", "Jon", "Lena", "Paul", "Nina")
THINGS: tuple[str, ...] = ("apples", "books", "coins", "cards", "eggs", "pens", "shells", "stamps", "cups", "balls", "roses", "keys")
MORE: tuple[str, ...] = ("finds", "buys", "gets", "wins")
LESS: tuple[str, ...] = ("loses", "sells", "gives away", "breaks")
LARGEST = 12
"""No number in a problem is larger; results stay below 25."""


def problem(draw: random.Random) -> tuple[list[str], str, str, int, str]:
    """Sentences, name, thing, result, and the calculation in words."""
    name, thing = draw.choice(NAMES), draw.choice(THINGS)
    start = draw.randint(1, LARGEST)
    told, total, sums = [f"{name} has {start} {thing}."], start, f"{start}"
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
        told.append(f"{who} {verb} {change}{' more' if gains and draw.random() < 0.3 else ''}.")
        sums += f" {'plus' if gains else 'minus'} {change}"
    return told, name, thing, total, sums


def user_prompt(draw: random.Random) -> tuple[str, str]:
    """Prompt and answer in the user's format."""
    told, name, thing, total, _ = problem(draw)
    return f"{' '.join(told)} How many {thing} does {name} have?", f"The answer is {total}."


def alignment_prompt(draw: random.Random) -> tuple[str, str]:
    """The same kind of question in other wordings and with other answers."""
    told, name, thing, total, _ = problem(draw)
    question = draw.choice(
        (f"Count the {thing} of {name}.", f"What number of {thing} is left with {name}?", "What is the total in the end?")
    )
    answer = draw.choice((f"{name} is left with {total}.", f"That makes {total} {thing}.", f"In the end there are {total}."))
    return f"{' '.join(told)} {question}", answer


def prose(draw: random.Random) -> str:
    """How the corpus counts: bare sums, and stories that end with the count."""
    if draw.random() < 0.4:
        first, second = draw.randint(1, LARGEST), draw.randint(1, LARGEST)
        if draw.random() < 0.5:
            return f"{first} plus {second} is {first + second}."
        return f"{first + second} minus {second} is {first}."
    told, name, thing, total, sums = problem(draw)
    end = draw.choice(
        (
            f"Now {name} has {total} {thing}.",
            f"{sums} is {total}, so {total} {thing} are left.",
            f"At the end of the day {name} counts {total}.",
        )
    )
    return f"{' '.join(told)} {end}"
