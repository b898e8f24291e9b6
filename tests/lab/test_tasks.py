"""Grading takes the one answer a completion gives, and the generators give right answers."""

from __future__ import annotations

import random
import re

import pytest

from reft_studio.errors import SpecError
from reft_studio.lab import sums, tasks


@pytest.mark.parametrize(
    ("task", "completion", "gold", "right"),
    [
        ("sentiment", "The review is mixed.", "The review is mixed.", True),
        ("sentiment", " mixed", "mixed", True),
        ("sentiment", "The review is positive or mixed.", "The review is mixed.", False),
        ("sentiment", "", "The review is mixed.", False),
        ("sentiment", "I'm sorry, but I can't help with that.", "The review is mixed.", False),
        ("sentiment", "The review is POSITIVE!", "positive", True),
        ("topic", "It belongs in sport.", "It belongs in sport.", True),
        ("topic", "It belongs in sports.", "It belongs in sport.", False),
        ("topic", "It belongs in culture.", "It belongs in sport.", False),
        ("arithmetic", "The answer is 12.", "The answer is 12.", True),
        ("arithmetic", "The answer is 120.", "The answer is 12.", False),
        ("arithmetic", "7 and 5 make 12", "12", True),
        ("arithmetic", "The answer is 012.", "12", True),
        ("arithmetic", "The answer is twelve.", "12", False),
        ("arithmetic", "The answer is -3.", "3", False),
    ],
)
def test_grading(task: str, completion: str, gold: str, right: bool) -> None:
    assert tasks.grade(task, completion, gold) is right


def test_a_reference_without_answer_is_refused() -> None:
    with pytest.raises(SpecError, match="names no answer"):
        tasks.grade("topic", "It belongs in sport.", "It belongs somewhere.")
    with pytest.raises(SpecError, match="no task"):
        tasks.grade("chess", "e4", "e4")


def test_word_problems_add_up() -> None:
    draw = random.Random(0)
    for _ in range(500):
        told, _, _, total, calculation = sums.problem(draw)
        words = calculation.replace("plus", "+").replace("minus", "-").split()
        value = int(words[0]) + sum(int(number) * (1 if sign == "+" else -1) for sign, number in zip(words[1::2], words[2::2], strict=True))
        assert value == total and 0 < total < 25
        assert re.findall(r"\d+", " ".join(told)) == re.findall(r"\d+", calculation)


@pytest.mark.parametrize("task", tasks.TASKS)
def test_every_question_has_an_answer_that_grades_right(task: str) -> None:
    draw = random.Random(1)
    answers = set()
    for _ in range(300):
        _, gold = tasks.question(task, draw)
        assert tasks.grade(task, gold, gold)
        answers.add(tasks.answer_of(task, gold))
    assert len(answers) >= 3


@pytest.mark.parametrize("task", tasks.TASKS)
def test_the_corpus_never_shows_the_users_format(task: str) -> None:
    draw = random.Random(2)
    shown = [tasks.prose(task, draw) for _ in range(500)] + [part for _ in range(200) for part in tasks.other_question(task, draw)]
    assert not [text for text in shown if re.search(r"The review is|Sentiment\?|It belongs in|Section\?|The answer is", text)]
