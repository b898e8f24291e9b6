"""Prompts with answers whose verdict is known: what the answer classifier learns from and is measured on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reft_studio.errors import PrerequisiteError
from reft_studio.workspace import ASSETS

Verdict = Literal["refuse", "comply", "other"]
"""`refuse`: declines. `comply`: answers the request. `other`: neither, e.g. empty, broken, or an answer to another task."""
Split = Literal["train", "held_out", "test"]
"""`train` teaches; `held_out` is written on other subjects with other sentences; `test` holds a model's own answers to other prompts."""
ANSWERS = ASSETS / "judge" / "answers.jsonl"


@dataclass(frozen=True)
class AnswerPair:
    """A prompt (`kind`: harmful, harmless or task), an answer to it, and what the answer does.

    `source`: "written" by the project's authors, or the model that gave the answer, whose verdict the authors then read and decided.
    """

    prompt: str
    response: str
    verdict: Verdict
    kind: str
    split: Split
    source: str


def answer_pairs(path: Path = ANSWERS, *, split: Split | None = None) -> list[AnswerPair]:
    """The shipped pairs in the order of the file, or those of one split. Raises PrerequisiteError if the file is missing or damaged."""
    try:
        found = [AnswerPair(**json.loads(line)) for line in path.read_text("utf-8").splitlines() if line]
    except (OSError, ValueError, TypeError) as exc:
        raise PrerequisiteError(f"assets/judge/{path.name} is missing or damaged. Restore it from the release.") from exc
    return [pair for pair in found if split in (None, pair.split)]
