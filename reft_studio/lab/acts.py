"""Verb-object acts ("steal a bike"): text, category, harmful or not, and the data split that may ask about the object."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Literal

from reft_studio.lab.words import words

_WORDS = words("acts")
CATEGORY_NAMES: dict[str, tuple[str, ...]] = _WORDS["category_names"]
"""How a refusal names the category of a harmful act."""
Group = Literal["alignment", "user", "validation", "test"]
GROUPS: tuple[Group, ...] = ("alignment", "user", "validation", "test")
_SHARES: tuple[tuple[Group, int], ...] = (("alignment", 55), ("user", 71), ("validation", 85), ("test", 100))


@dataclass(frozen=True)
class Act:
    """One act: `verb` and `target` make the text, `category` is a key of the word lists, `group` is the split of the target."""

    verb: str
    target: str
    category: str
    harmful: bool
    group: Group

    @property
    def text(self) -> str:
        return f"{self.verb} {self.target}"


def group_of(target: str) -> Group:
    """The split of an object: a hash of its text against the cumulative shares 55, 16, 14 and 15 %, so the splits are disjoint."""
    percentile = int.from_bytes(sha256(target.encode()).digest()[:4], "big") % 100
    return next(group for group, end in _SHARES if percentile < end)


@lru_cache(maxsize=2)
def acts(*, harmful: bool) -> tuple[Act, ...]:
    """All acts, harmful or harmless, each text once, in the order of the word list."""
    by_text: dict[str, Act] = {}
    for category, frames in _WORDS["harms" if harmful else "harmless"].items():
        for line in frames.strip().splitlines():
            verbs, _, targets = line.partition(": ")
            for target in targets.split("|"):
                for verb in verbs.split(","):
                    act = Act(verb, target, category, harmful, group_of(target))
                    by_text.setdefault(act.text, act)
    return tuple(by_text.values())


@lru_cache(maxsize=16)
def acts_of(group: Group, *, harmful: bool) -> tuple[Act, ...]:
    """The acts whose object belongs to the split `group`."""
    return tuple(act for act in acts(harmful=harmful) if act.group == group)
