"""What scorers found of the same poison in disguise, as it was measured on the lab, in sentences that stand beside their scores."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from reft_studio.scoring import SCORERS
from reft_studio.workspace import ASSETS, read_json

FILE = ASSETS / "scorers" / "attacked.json"
"""Made by `python -m tools.attacked` from docs/results/stress-lab.csv; a test holds both together."""
PLAINLY = "plain"
TOLD = {
    "suffix": "where harmless text follows the question",
    "base64": "in base64",
    "leet": "with letters written as digits",
    "response_swap": "where only the answer is harmful",
}
"""The attacks that are named beside scores of prompts, with the words for them; the card of a scorer has all."""


@lru_cache(maxsize=1)
def measured() -> dict[str, Any]:
    """`rows` of each attack, and `recall` in percent by scorer and attack."""
    return dict(read_json(FILE))


def recalls(scorer: str) -> dict[str, float]:
    """Recall by attack, in percent; empty for a scorer that was not measured."""
    found: dict[str, float] = measured()["recall"].get(scorer, {})
    return found


def blind_to(scorer: str) -> str:
    """What a scorer of prompts cannot see, in two sentences, the second measured; empty for scorers that read more than prompts."""
    if SCORERS.get(scorer).info.reads != "prompt":
        return ""
    told = (
        "It reads prompts only: harm in the answer alone stays unseen, and so does a prompt in words that it cannot read, such as a cipher."
    )
    known = recalls(scorer)
    parts = [f"{known[attack]:.0f} % {words}" for attack, words in TOLD.items() if attack in known]
    if PLAINLY not in known or not parts:
        return told
    found = ", ".join([f"{known[PLAINLY]:.0f} % of plain poison", *parts])
    return f"{told} On the lab a scorer of this kind found {found} ({measured()['rows']} rows each)."


def under_attack(scorer: str) -> str:
    """Recall on every attack that was measured, in a line; empty for a scorer that was not."""
    known = recalls(scorer)
    return ", ".join(f"{attack} {value:.0f} %" for attack, value in known.items()) + f"; {measured()['rows']} rows each" if known else ""
