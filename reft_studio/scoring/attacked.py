"""Recall of the scorers on the same poison under each attack, measured on the lab, as sentences for pages."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from reft_studio.scoring import SCORERS
from reft_studio.workspace import ASSETS, read_json

FILE = ASSETS / "scorers" / "attacked.json"
"""Written by `python -m tools.attacked` from docs/results/stress-lab.csv; a test keeps both in step."""
PLAINLY = "plain"
NAMED = {
    "suffix": "where harmless text follows the question",
    "base64": "in base64",
    "leet": "with letters written as digits",
    "response_swap": "where only the answer is harmful",
}
"""Attacks named next to scores of prompts, in words; a scorer's card lists all."""


@lru_cache(maxsize=1)
def measured() -> dict[str, Any]:
    """`rows` of each attack, and `recall` in percent by scorer and attack."""
    return dict(read_json(FILE))


def recalls(scorer: str) -> dict[str, float]:
    """Recall by attack, in percent; empty for a scorer that was not measured."""
    by_attack: dict[str, float] = measured()["recall"].get(scorer, {})
    return by_attack


def blind_to(scorer: str) -> str:
    """What a scorer of prompts cannot detect, in two sentences, the second measured; empty for scorers that read more than prompts."""
    if SCORERS.get(scorer).info.reads != "prompt":
        return ""
    limits = (
        "It reads prompts only: harm in the answer alone stays unseen, and so does a prompt in words that it cannot read, such as a cipher."
    )
    recall_by_attack = recalls(scorer)
    parts = [f"{recall_by_attack[attack]:.0f} % {words}" for attack, words in NAMED.items() if attack in recall_by_attack]
    if PLAINLY not in recall_by_attack or not parts:
        return limits
    listed = ", ".join([f"{recall_by_attack[PLAINLY]:.0f} % of plain poison", *parts])
    return f"{limits} On the lab a scorer of this kind found {listed} ({measured()['rows']} rows each)."


def under_attack(scorer: str) -> str:
    """Recall on every measured attack, on one line; empty for a scorer that was not measured."""
    known = recalls(scorer)
    return ", ".join(f"{attack} {value:.0f} %" for attack, value in known.items()) + f"; {measured()['rows']} rows each" if known else ""
