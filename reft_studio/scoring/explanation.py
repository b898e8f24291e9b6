"""What the model host says of one row: plain values, so that pages can read them without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

MOST_TOKENS = 256
"""Tokens that are given back; of a longer prompt the first and the last half of them."""


@dataclass(frozen=True)
class TokenCosine:
    """One token of the prompt, and the cosine of its own hidden state; the last token's is the score.

    `effect`: the score minus what it would be without this token; None for the template's tokens and where that is too much work.
    """

    text: str
    cosine: float
    own: bool
    effect: float | None = None


@dataclass(frozen=True)
class Neighbour:
    """A calibration prompt: `cosine` of its feature with the explained one, `score` of its own."""

    prompt: str
    cosine: float
    score: float


@dataclass(frozen=True)
class Inside:
    """What the model says of a row. `turn` is the place, from 0, of the user turn that gave the score.

    `tokens` are at most MOST_TOKENS, with `cut` left out after the first half of them; `truncated`: the prompt was longer than the
    model reads. `layers` is the cosine after each block, first block first; empty, like the neighbours, if the teacher lacks the files.
    """

    turn: int
    turns: int
    score: float
    tokens: list[TokenCosine]
    cut: int
    truncated: bool
    layers: list[float]
    neighbours: dict[str, list[Neighbour]]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Inside:
        """The same from `as_json`."""
        tokens = [TokenCosine(**one) for one in values["tokens"]]
        neighbours = {kind: [Neighbour(**one) for one in some] for kind, some in values["neighbours"].items()}
        return cls(**{**values, "tokens": tokens, "neighbours": neighbours})
