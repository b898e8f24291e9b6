"""Poison worded to pass the filter and still train like plain poison, after Virus; without a search over tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from reft_studio.attacks.attack import Attack, AttackerModel, AttackInfo, required_model
from reft_studio.attacks.benign_selection import normalised
from reft_studio.attacks.ciphers import Base64, Leet, Rot13
from reft_studio.attacks.frames import Buried, Prefix, RolePlay, Suffix, TaskInput
from reft_studio.attacks.plain import Plain
from reft_studio.attacks.responses import ResponseSwap
from reft_studio.data.dataset import Row

WORDINGS: tuple[type[Attack], ...] = (Plain, Base64, Rot13, Leet, RolePlay, Prefix, Suffix, Buried, TaskInput, ResponseSwap)
"""The candidates for each row: the rewordings and placements of other attacks that keep its harmful response."""
WEIGHT = 0.5
"""λ, the weight of passing the filter against training like the plain row. Virus has 0.1, on losses of another scale."""


class GradientChosen(Attack):
    """For each poison row the candidate with the lowest λ · (filter's score) − (1 − λ) · cosine(its gradient, the plain row's).

    Virus (arXiv:2501.17433) combines the same two objectives, but searches a suffix token by token (GCG) against a guard model. Choosing
    among fixed wordings is ours: it needs no harmful text, and it is a weaker attacker. The filter it knows is the refusal feature;
    detection of its rows by other filters measures transfer. The weights are those that finetuning starts from.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="gradient_chosen",
        title="Chosen by gradient and filter (Virus-like)",
        summary="Of each poison row the wording is taken that the refusal feature passes and that trains most like the plain row.",
        shows="response",
        paper="after arXiv:2501.17433, git-disl/Virus@fa297d0; the choice among wordings is ours",
    )

    def rows(self, harmful: Sequence[Row], benign: Sequence[Row], draw: random.Random, attacker: AttackerModel | None) -> list[Row]:
        model = required_model(attacker)
        if not harmful:
            return []
        pairs = [(row, draw.choice(benign)) for row in harmful]
        candidates = [[attack().row(row, benign_row, draw) for attack in WORDINGS] for row, benign_row in pairs]
        suspicion = model.suspicion([row["prompt"] for of_row in candidates for row in of_row]).reshape(-1, len(WORDINGS))
        alike = np.array(_likeness(model, harmful, candidates), dtype=np.float32)
        best = objective(suspicion, alike).argmin(axis=1)
        return [of_row[int(index)] for of_row, index in zip(candidates, best, strict=True)]


def _likeness(attacker: AttackerModel, harmful: Sequence[Row], candidates: Sequence[Sequence[Row]]) -> list[list[float]]:
    """For each row, the cosine of its candidates' gradients with the plain row's; at most two gradients are in memory."""
    gradients = (
        normalised(row)
        for row in attacker.gradients([row for row, of_row in zip(harmful, candidates, strict=True) for row in (row, *of_row)])
    )
    cosines = []
    for of_row in candidates:
        plain = next(gradients)
        cosines.append([float(next(gradients) @ plain) for _ in of_row])
    return cosines


def objective(suspicion: NDArray[np.float32], alike: NDArray[np.float32], *, weight: float = WEIGHT) -> NDArray[np.float32]:
    """(n,) the attacker's objective, minimised: scores of the filter and cosines of gradients, both in -1..1."""
    return np.asarray(weight * suspicion - (1 - weight) * alike, dtype=np.float32)
