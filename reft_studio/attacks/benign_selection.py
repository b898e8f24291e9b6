"""Harmless rows whose representation resembles harmful ones: without any poison, finetuning on them breaks refusals."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from reft_studio.attacks.attack import Attack, AttackerModel, AttackInfo, required_model
from reft_studio.data.dataset import Row
from reft_studio.errors import DataError

ANCHORS = 100
"""Maximum number of anchors of each kind: He et al. have 10 or 100 harmful ones."""


class BenignSelection(Attack):
    """Replaces the poison by the rows of a harmless pool whose hidden state is most similar to that of harmful anchors.

    He et al. take the state after the final norm, and for each row the highest plain cosine to a harmful anchor. Here it is the state
    after the last block, states are centred (raw ones share a large component, so that all cosines are near 1), all anchors count, and
    similarity to safe anchors is subtracted, as in their choice by gradient.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="benign_selection",
        title="Harmless rows like harmful ones, by state",
        summary="No harmful row at all: of other harmless rows those are taken whose hidden state is most like that of harmful answers.",
        shows="nowhere",
        paper="arXiv:2404.01099, princeton-nlp/benign-data-breaks-safety@d44d665",
    )

    def rows(self, harmful: Sequence[Row], benign: Sequence[Row], draw: random.Random, attacker: AttackerModel | None) -> list[Row]:
        return _most_alike(len(harmful), required_model(attacker), _by_state)


class BenignByGradient(Attack):
    """The same by gradient: the normalised gradient of each row against the mean gradient of harmful minus that of safe anchors.

    He et al. take the gradient of all weights on the first ten response tokens; here it is that of a fresh adapter on all of them.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="benign_by_gradient",
        title="Harmless rows like harmful ones, by gradient",
        summary="No harmful row at all: of other harmless rows those are taken that push the weights most like harmful answers do.",
        shows="nowhere",
        paper="arXiv:2404.01099, princeton-nlp/benign-data-breaks-safety@d44d665",
    )

    def rows(self, harmful: Sequence[Row], benign: Sequence[Row], draw: random.Random, attacker: AttackerModel | None) -> list[Row]:
        return _most_alike(len(harmful), required_model(attacker), _by_gradient)


def likeness(rows: NDArray[np.float32], harmful: NDArray[np.float32], safe: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) mean cosine to harmful anchors minus that to safe ones, in -2..2, centred at the midpoint of both kinds' means."""
    middle = (harmful.mean(0) + safe.mean(0)) / 2
    sides = [normalised(anchors - middle).mean(0) for anchors in (harmful, safe)]
    return np.asarray(normalised(rows - middle) @ (sides[0] - sides[1]), dtype=np.float32)


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each vector scaled to length 1; zero stays zero."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12), dtype=np.float32)


def _by_state(attacker: AttackerModel) -> NDArray[np.float32]:
    return likeness(attacker.states(attacker.pool), attacker.states(attacker.harmful[:ANCHORS]), attacker.states(attacker.safe[:ANCHORS]))


def _by_gradient(attacker: AttackerModel) -> NDArray[np.float32]:
    towards = _mean(attacker.gradients(attacker.harmful[:ANCHORS])) - _mean(attacker.gradients(attacker.safe[:ANCHORS]))
    return np.array([normalised(gradient) @ towards for gradient in attacker.gradients(attacker.pool)], dtype=np.float32)


def _mean(vectors: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mean of normalised vectors, with one in memory at a time."""
    total, count = np.zeros(1, dtype=np.float32), 0
    for vector in vectors:
        total, count = total + normalised(vector), count + 1
    return np.asarray(total / max(count, 1), dtype=np.float32)


def _most_alike(count: int, attacker: AttackerModel, values: Callable[[AttackerModel], NDArray[np.float32]]) -> list[Row]:
    """The `count` rows of the pool with the highest values, the highest first. Raises DataError if the pool has fewer."""
    if len(attacker.pool) < count:
        raise DataError(
            f"The attack takes {count:,} harmless rows, but only {len(attacker.pool):,} are left beside the user data. Ask for fewer "
            "rows, or for a lower share of poison."
        )
    best = np.argsort(-values(attacker), kind="stable")[:count]
    return [{**attacker.pool[int(index)], "known_harmful": True} for index in best]
