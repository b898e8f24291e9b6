"""Acts as values: what is done, to what, in which category, and to which split its object belongs."""

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
    """One act: `verb` and `target` make the text; `group` says which split may use the target in requests."""

    verb: str
    target: str
    category: str
    harmful: bool
    group: Group

    @property
    def text(self) -> str:
        return f"{self.verb} {self.target}"


def group_of(target: str) -> Group:
    """The split of an object, fixed by its text, so that no object is ever in two splits."""
    place = int.from_bytes(sha256(target.encode()).digest()[:4], "big") % 100
    return next(group for group, end in _SHARES if place < end)


@lru_cache(maxsize=2)
def acts(*, harmful: bool) -> tuple[Act, ...]:
    """All acts of one kind, in a fixed order."""
    found: dict[str, Act] = {}
    for category, frames in _WORDS["harms" if harmful else "harmless"].items():
        for line in frames.strip().splitlines():
            verbs, _, targets = line.partition(": ")
            for target in targets.split("|"):
                for verb in verbs.split(","):
                    act = Act(verb, target, category, harmful, group_of(target))
                    found.setdefault(act.text, act)
    return tuple(found.values())


@lru_cache(maxsize=16)
def acts_of(group: Group, *, harmful: bool) -> tuple[Act, ...]:
    """The acts that one split may ask about."""
    return tuple(act for act in acts(harmful=harmful) if act.group == group)
