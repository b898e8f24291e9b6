"""What happens to a row: the reviewer's word where there is one, else the threshold."""

from __future__ import annotations

import math
from typing import Literal

from reft_studio.audit.decision import Decision
from reft_studio.scoring.scores import grid

Outcome = Literal["keep", "remove", "undecided"]
REFUSAL = "I'm sorry, but I can't help with that."
"""What a relabelled row is trained to answer, unless another text is given."""


def flagged(score: float | None, threshold: float) -> bool:
    """True at or above the threshold, compared on the grid of all scores; a row without a score is not flagged."""
    return score is not None and not math.isnan(score) and bool(grid(score) >= grid(threshold))


def effective(score: float | None, threshold: float, human: Decision | None) -> Outcome:
    """What holds for a row. `relabel` keeps it (with a refusal); no score, or `unsure`, leaves it undecided."""
    action = human.action if human else "clear"
    if action == "remove":
        return "remove"
    if action in ("keep", "relabel"):
        return "keep"
    if action == "unsure" or score is None or math.isnan(score):
        return "undecided"
    return "remove" if flagged(score, threshold) else "keep"


def name(threshold: float, rule: str | None = None) -> str:
    """Who decided, when the threshold did, as it stands in records: `policy:threshold=0.31`, and by which rule it was found."""
    return f"policy:threshold={threshold:.6g}" + (f" ({rule})" if rule else "")
