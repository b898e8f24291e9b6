"""A dataset in shards of bounded size: the distinct prompts of each, and which rows contain them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reft_studio.data.chat.content import turn_text
from reft_studio.data.dataset import Dataset

ROWS = 65_536
CHARACTERS = 1 << 26
"""Limits of one shard; memory is that of one shard, however many there are."""

NO_TURN, EMPTY, REFUSED, NO_TOKENS, NOT_FINITE, NO_ANSWER, NO_LABEL, NO_MEMBER, NOT_REACHED = range(1, 10)
REASONS = {
    NO_TURN: "no user turn",
    EMPTY: "empty prompt",
    REFUSED: "the chat template refuses the row",
    NO_TOKENS: "no token is left of the prompt",
    NOT_FINITE: "the model's hidden state is not finite",
    NO_ANSWER: "no response",
    NO_LABEL: "no label",
    NO_MEMBER: "a scorer of the ensemble gives no score",
    NOT_REACHED: "not yet reached",
}
"""Why a row has no score; 0 stands for a row that has one. NOT_REACHED, in unfinished scores only, is the highest: a row with one
unreached turn is unreached."""


@dataclass
class Shard:
    """Consecutive rows of the dataset.

    texts: distinct user turns. turns: positions in `texts`, row after row; ends: the end of each row's turns in it.
    reasons: per row, why it has nothing to score, or 0.
    """

    index: int
    texts: list[str] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    reasons: list[int] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.ends)


def shards(dataset: Dataset, *, rows: int = ROWS, characters: int = CHARACTERS) -> Iterator[Shard]:
    """The dataset in order. The end of a shard depends on the rows alone, never on what was done before."""
    shard, known, size = Shard(0), dict[str, int](), 0
    for row in dataset.read(["prompt", "messages"]):
        turns, reason = user_turns(row)
        for turn in turns:
            if turn not in known:
                known[turn] = len(shard.texts)
                shard.texts.append(turn)
                size += len(turn)
            shard.turns.append(known[turn])
        shard.ends.append(len(shard.turns))
        shard.reasons.append(reason)
        if shard.rows >= rows or size >= characters:
            yield shard
            shard, known, size = Shard(shard.index + 1), {}, 0
    if shard.rows:
        yield shard


def user_turns(row: dict[str, Any]) -> tuple[list[str], int]:
    """The user turns of a row, without blank ones; and the reason if there is none, or 0."""
    texts = [turn_text(turn) for turn in json.loads(row["messages"]) if turn.get("role") == "user"]
    if not any(texts) and row["prompt"]:
        texts = [row["prompt"]]
    turns = [turn for turn in texts if turn.strip()]
    return turns, 0 if turns else EMPTY if texts else NO_TURN


def row_scores(shard: Shard, scores: NDArray[np.float32], why: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Per row the highest score of its turns, and the reason if it has none (0: it has one).

    scores, why: per text. A row with one unscored turn has no score.
    """
    values, reasons = np.full(shard.rows, np.nan, dtype=np.float32), np.array(shard.reasons, dtype=np.uint8)
    turns, ends = np.array(shard.turns, dtype=np.int64), np.array(shard.ends, dtype=np.int64)
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]])
    has_turn = ends > starts
    if has_turn.any():
        values[has_turn] = np.maximum.reduceat(scores[turns], starts[has_turn])
        reasons[has_turn] = np.maximum.reduceat(why[turns], starts[has_turn])
    return values, reasons
