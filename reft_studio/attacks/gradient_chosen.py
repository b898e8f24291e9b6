"""Poison worded so that the filter passes it while it still trains like plain poison, after Virus; without a search over tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from reft_studio.attacks.attack import Attack, AttackInfo, Lent, borrowed
from reft_studio.attacks.benign_selection import normalised
from reft_studio.attacks.ciphers import Base64, Leet, Rot13
from reft_studio.attacks.frames import Buried, Prefix, RolePlay, Suffix, TaskInput
from reft_studio.attacks.plain import Plain
from reft_studio.attacks.responses import ResponseSwap
from reft_studio.data.dataset import Row

WORDINGS: tuple[type[Attack], ...] = (Plain, Base64, Rot13, Leet, RolePlay, Prefix, Suffix, Buried, TaskInput, ResponseSwap)
"""The candidates of each row: the wordings and placings of other attacks that keep its harmful answer."""
WEIGHT = 0.5
"""λ, how much passing the filter counts against training like the plain row. Virus has 0.1, on losses of another scale."""


class GradientChosen(Attack):
    """Of each poison row the candidate with the lowest λ · (filter's score) − (1 − λ) · cosine(its gradient, the plain row's).

    Virus (arXiv:2501.17433) joins the same two aims, but searches a suffix token by token (GCG) against a guard model. Choosing among
    ready wordings is ours: it needs no harmful text, and it is a weaker attacker. The filter it knows is the refusal feature; what
    other filters find of its rows is a transfer. The weights are those that finetuning starts from.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="gradient_chosen",
        title="Chosen by gradient and filter (Virus-like)",
        summary="Of each poison row the wording is taken that the refusal feature passes and that trains most like the plain row.",
        shows="response",
        paper="after arXiv:2501.17433, git-disl/Virus@fa297d0; the choice among wordings is ours",
    )

    def rows(self, harmful: Sequence[Row], benign: Sequence[Row], draw: random.Random, lent: Lent | None) -> list[Row]:
        known = borrowed(lent)
        if not harmful:
            return []
        carried = [(one, draw.choice(benign)) for one in harmful]
        candidates = [[way().row(one, carrier, draw) for way in WORDINGS] for one, carrier in carried]
        suspicion = known.suspicion([row["prompt"] for some in candidates for row in some]).reshape(-1, len(WORDINGS))
        alike = np.array(_likeness(known, harmful, candidates), dtype=np.float32)
        best = objective(suspicion, alike).argmin(axis=1)
        return [some[int(place)] for some, place in zip(candidates, best, strict=True)]


def _likeness(lent: Lent, harmful: Sequence[Row], candidates: Sequence[Sequence[Row]]) -> list[list[float]]:
    """Of each row, the cosine of its candidates' gradients with the plain row's; one gradient and that one are in memory at a time."""
    pushes = (
        normalised(one) for one in lent.gradients([row for one, some in zip(harmful, candidates, strict=True) for row in (one, *some)])
    )
    found = []
    for some in candidates:
        plain = next(pushes)
        found.append([float(next(pushes) @ plain) for _ in some])
    return found


def objective(suspicion: NDArray[np.float32], alike: NDArray[np.float32], *, weight: float = WEIGHT) -> NDArray[np.float32]:
    """(n,) what the attacker makes small: scores of the filter and cosines of gradients, both in -1..1."""
    return np.asarray(weight * suspicion - (1 - weight) * alike, dtype=np.float32)
