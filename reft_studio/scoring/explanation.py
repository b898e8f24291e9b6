"""The model host's explanation of a row: plain values, which pages read without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

MOST_TOKENS = 256
"""Maximum number of tokens returned; of a longer prompt the first and the last half of them."""


@dataclass(frozen=True)
class TokenCosine:
    """One token of the prompt, and the cosine of its hidden state; the last token's is the score.

    `effect`: the score minus the score without this token; None for the template's tokens and where computing it is too expensive.
    """

    text: str
    cosine: float
    own: bool
    effect: float | None = None


@dataclass(frozen=True)
class Neighbour:
    """A calibration prompt: `cosine` of its feature with the explained one, and its own `score`."""

    prompt: str
    cosine: float
    score: float


@dataclass(frozen=True)
class Explanation:
    """The explanation of a row. `turn` is the index, from 0, of the user turn that gave the score.

    `tokens` are at most MOST_TOKENS, with `cut` left out after the first half of them; `truncated`: the prompt was longer than the
    model's limit. `layers` is the cosine after each block, first block first; empty, like the neighbours, if the teacher lacks the files.
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
    def of(cls, values: dict[str, Any]) -> Explanation:
        """Inverse of `as_json`."""
        tokens = [TokenCosine(**item) for item in values["tokens"]]
        neighbours = {kind: [Neighbour(**item) for item in items] for kind, items in values["neighbours"].items()}
        return cls(**{**values, "tokens": tokens, "neighbours": neighbours})
