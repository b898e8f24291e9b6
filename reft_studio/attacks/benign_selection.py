"""Harmless rows that resemble harmful ones to the model: there is no poison at all, and finetuning on them breaks refusals all the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from reft_studio.attacks.attack import Attack, AttackInfo, Lent, borrowed
from reft_studio.data.dataset import Row
from reft_studio.errors import DataError

ANCHORS = 100
"""Anchors of each kind at most: He et al. have 10 or 100 harmful ones."""


class BenignSelection(Attack):
    """The rows of a harmless pool whose hidden state is most like that of harmful anchors, in place of the poison.

    He et al. take the state after the final norm, and for each row the highest plain cosine to a harmful anchor. Here it is the state
    after the last block, states are centred (raw ones share a large part, so that all cosines are near 1), every anchor counts, and safe
    anchors count against it, as in their choice by gradient.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="benign_selection",
        title="Harmless rows like harmful ones, by state",
        summary="No harmful row at all: of other harmless rows those are taken whose hidden state is most like that of harmful answers.",
        shows="nowhere",
        paper="arXiv:2404.01099, princeton-nlp/benign-data-breaks-safety@d44d665",
    )

    def rows(self, harmful: Sequence[Row], benign: Sequence[Row], draw: random.Random, lent: Lent | None) -> list[Row]:
        return _most_alike(len(harmful), borrowed(lent), _by_state)


class BenignByGradient(Attack):
    """The same by gradient, with the normalised gradient of each row against the mean gradient of harmful minus that of safe anchors.

    He et al. take the gradient of all weights on the first ten tokens of the response; here it is that of a fresh adapter on all of it.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="benign_by_gradient",
        title="Harmless rows like harmful ones, by gradient",
        summary="No harmful row at all: of other harmless rows those are taken that push the weights most like harmful answers do.",
        shows="nowhere",
        paper="arXiv:2404.01099, princeton-nlp/benign-data-breaks-safety@d44d665",
    )

    def rows(self, harmful: Sequence[Row], benign: Sequence[Row], draw: random.Random, lent: Lent | None) -> list[Row]:
        return _most_alike(len(harmful), borrowed(lent), _by_gradient)


def likeness(rows: NDArray[np.float32], harmful: NDArray[np.float32], safe: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) mean cosine to harmful anchors minus that to safe ones, in -2..2, about the midpoint of the means of both kinds of anchors."""
    middle = (harmful.mean(0) + safe.mean(0)) / 2
    sides = [normalised(anchors - middle).mean(0) for anchors in (harmful, safe)]
    return np.asarray(normalised(rows - middle) @ (sides[0] - sides[1]), dtype=np.float32)


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each vector at length 1; zero stays zero."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12), dtype=np.float32)


def _by_state(lent: Lent) -> NDArray[np.float32]:
    return likeness(lent.states(lent.pool), lent.states(lent.harmful[:ANCHORS]), lent.states(lent.safe[:ANCHORS]))


def _by_gradient(lent: Lent) -> NDArray[np.float32]:
    towards = _mean(lent.gradients(lent.harmful[:ANCHORS])) - _mean(lent.gradients(lent.safe[:ANCHORS]))
    return np.array([normalised(one) @ towards for one in lent.gradients(lent.pool)], dtype=np.float32)


def _mean(vectors: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mean of normalised vectors, one in memory at a time."""
    total, count = np.zeros(1, dtype=np.float32), 0
    for one in vectors:
        total, count = total + normalised(one), count + 1
    return np.asarray(total / max(count, 1), dtype=np.float32)


def _most_alike(count: int, lent: Lent, values: Callable[[Lent], NDArray[np.float32]]) -> list[Row]:
    """The `count` rows of the pool with the highest values, the highest first. Raises DataError if the pool has fewer."""
    if len(lent.pool) < count:
        raise DataError(
            f"The attack takes {count:,} harmless rows, but only {len(lent.pool):,} are left beside the user data. Ask for fewer rows, or "
            "for a lower share of poison."
        )
    best = np.argsort(-values(lent), kind="stable")[:count]
    return [{**lent.pool[int(place)], "known_harmful": True} for place in best]
