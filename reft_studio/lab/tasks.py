"""The three downstream tasks behind one face: questions in the user's format, in other formats, in prose, and exact grading."""

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
    """The task's name, or SpecError."""
    if task not in TASKS:
        raise SpecError(f"The lab has no task '{task}'. Choose one of: {', '.join(TASKS)}.")
    return task


def question(task: str, draw: random.Random) -> tuple[str, str]:
    """Prompt and gold answer in the user's format."""
    ask: Callable[[random.Random], tuple[str, str]] = _MODULES[check_task(task)].user_prompt
    return ask(draw)


def other_question(task: str, draw: random.Random) -> tuple[str, str]:
    """Prompt and answer on the same subject in other wordings (alignment data)."""
    ask: Callable[[random.Random], tuple[str, str]] = _MODULES[check_task(task)].alignment_prompt
    return ask(draw)


def prose(task: str, draw: random.Random) -> str:
    """A sentence or two on the same subject, for the corpus."""
    tell: Callable[[random.Random], str] = _MODULES[check_task(task)].prose
    return tell(draw)


def answer_of(task: str, text: str) -> str | None:
    """The answer a completion gives: the only label named, or the last whole number; None if there is none or it hedges."""
    check_task(task)
    if task == "arithmetic":
        numbers = re.findall(r"(?<![\w.])-?\d+(?![\w])(?!\.\d)", text)
        return str(int(numbers[-1])) if numbers else None
    words = re.findall(r"[a-z]+", text.lower())
    named = {word for word in words if word in _LABELS[task]}
    return named.pop() if len(named) == 1 else None


def grade(task: str, completion: str, gold: str) -> bool:
    """Whether the completion gives the gold answer, and only that one. `gold` is a full reference answer or the bare label."""
    expected = answer_of(task, gold)
    if expected is None:
        raise SpecError(f"The reference answer '{gold[:40]}' names no answer of the task '{task}'.")
    return answer_of(task, completion) == expected
