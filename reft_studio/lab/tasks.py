"""The three downstream tasks by name: prompts in the user's format and in others, corpus prose, and exact-match grading."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from reft_studio.errors import SpecError
from reft_studio.lab import news, reviews, sums

TASKS: tuple[str, ...] = ("sentiment", "topic", "arithmetic")
_MODULES = {"sentiment": reviews, "topic": news, "arithmetic": sums}
_LABELS: dict[str, tuple[str, ...]] = {"sentiment": reviews.SENTIMENTS, "topic": news.TOPICS}


def check_task(task: str) -> str:
    """The task's name. Raises SpecError if it is none of `TASKS`."""
    if task not in TASKS:
        raise SpecError(f"The lab has no task '{task}'. Choose one of: {', '.join(TASKS)}.")
    return task


def question(task: str, draw: random.Random) -> tuple[str, str]:
    """Prompt and gold response in the format of the user data. Raises SpecError for an unknown task."""
    make_question: Callable[[random.Random], tuple[str, str]] = _MODULES[check_task(task)].user_prompt
    return make_question(draw)


def other_question(task: str, draw: random.Random) -> tuple[str, str]:
    """Prompt and response of the task in other formats (alignment data). Raises SpecError for an unknown task."""
    make_question: Callable[[random.Random], tuple[str, str]] = _MODULES[check_task(task)].alignment_prompt
    return make_question(draw)


def prose(task: str, draw: random.Random) -> str:
    """One or two sentences of the task for the corpus. Raises SpecError for an unknown task."""
    make_prose: Callable[[random.Random], str] = _MODULES[check_task(task)].prose
    return make_prose(draw)


def answer_of(task: str, text: str) -> str | None:
    """The answer in a completion: the only label it names, or its last whole number; None if there is none or several labels."""
    check_task(task)
    if task == "arithmetic":
        numbers = re.findall(r"(?<![\w.])-?\d+(?![\w])(?!\.\d)", text)
        return str(int(numbers[-1])) if numbers else None
    words = re.findall(r"[a-z]+", text.lower())
    named = {word for word in words if word in _LABELS[task]}
    return named.pop() if len(named) == 1 else None


def grade(task: str, completion: str, gold: str) -> bool:
    """Whether the completion's answer is the gold one. `gold` is a full response or the bare label.

    Raises SpecError if `gold` has no answer of the task.
    """
    expected = answer_of(task, gold)
    if expected is None:
        raise SpecError(f"The reference answer '{gold[:40]}' names no answer of the task '{task}'.")
    return answer_of(task, completion) == expected
