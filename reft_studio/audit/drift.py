"""Whether a threshold found on calibration prompts may be carried over to a file: the file's scores beside any mix of both kinds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reft_studio.errors import EvaluationError

Verdict = Literal["fits", "small", "shifted", "too few"]
CHANCE = 1.358
"""Kolmogorov's 95 % point: beyond this many standard sizes a distance is not chance."""
LARGE = 0.1
"""Distance from which a shift matters, whatever the number of rows: a tenth of the rows lies where calibration puts none."""
LEAST = 30
"""Scores of a kind below which nothing is said."""
MIXES = 401
"""Shares of harmful rows that are tried, evenly from 0 to 1."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Distance:
    """Kolmogorov-Smirnov distance (0 to 1) of two samples, where it is largest, and how large chance makes it in 1 of 20 cases."""

    value: float
    at: float
    chance: float
    file: int
    calibration: int

    @property
    def verdict(self) -> Verdict:
        """In one word what the distance means for a threshold."""
        if min(self.file, self.calibration) < LEAST:
            return "too few"
        if self.value <= self.chance:
            return "fits"
        return "shifted" if self.value > LARGE else "small"


@dataclass(frozen=True)
class Drift:
    """`mix` is the distance to the nearest mix of both calibration kinds, which has the share `share` of harmful prompts.

    `harmless` and `harmful` compare the file's labelled rows with the calibration prompts of their kind (None: too few labels).
    """

    mix: Distance
    share: float
    harmless: Distance | None
    harmful: Distance | None

    @property
    def verdict(self) -> Verdict:
        """The worst of what was compared, labelled rows first: they say most."""
        found = [one.verdict for one in (self.harmless, self.harmful, self.mix) if one is not None]
        return next((word for word in _WORST_FIRST if word in found), "too few")


_WORST_FIRST: tuple[Verdict, ...] = ("shifted", "small", "fits")


def drift(file: Counts, calibration: Counts) -> Drift | None:
    """Compare scores as counts on the grid: `file` is (3, bins) of harmful, harmless and unlabelled rows, `calibration` (2, bins).

    A file is a mix of both kinds in an unknown share, so its distance to one kind alone says nothing: what counts is the distance to the
    nearest mix, which no share of harmful rows explains. None without scores or without one kind of calibration prompts.
    """
    if file.shape[0] != 3 or calibration.shape != (2, file.shape[1]):
        raise EvaluationError(f"The scores to compare have the shapes {file.shape} and {calibration.shape}: they are not on one grid.")
    rows, prompts = file.sum(axis=1), calibration.sum(axis=1)
    if not rows.sum() or not prompts.all():
        return None
    share, mix = _nearest_mix(file.sum(axis=0), calibration)
    harmful, harmless = (ks(file[kind], calibration[kind]) if min(rows[kind], prompts[kind]) >= LEAST else None for kind in (0, 1))
    return Drift(mix, share, harmless, harmful)


def ks(file: Counts, calibration: Counts) -> Distance:
    """Two-sample Kolmogorov-Smirnov distance of counts on one grid."""
    gap = np.abs(share_up_to(file) - share_up_to(calibration))
    n, m = int(file.sum()), int(calibration.sum())
    at = int(gap.argmax())
    return Distance(float(gap[at]), at / 1000 - 1, CHANCE * math.sqrt(1 / n + 1 / m), n, m)


def share_up_to(counts: Counts) -> NDArray[np.float64]:
    """The empirical distribution: for each bin the share of scores in it or below."""
    return np.asarray(np.cumsum(counts) / counts.sum(), dtype=np.float64)


def _nearest_mix(file: Counts, calibration: Counts) -> tuple[float, Distance]:
    """The share of harmful prompts whose mix lies nearest to the file, and its distance.

    The distance that chance allows is that of three independent samples; the nearest share was chosen, which only makes it smaller.
    """
    whole, harmful, harmless = (share_up_to(counts) for counts in (file, *calibration))
    shares = np.linspace(0, 1, MIXES)
    gaps = np.abs(whole - (shares[:, None] * harmful + (1 - shares)[:, None] * harmless))
    best = int(gaps.max(axis=1).argmin())
    share, at = float(shares[best]), int(gaps[best].argmax())
    n, (m_harmful, m_harmless) = int(file.sum()), calibration.sum(axis=1)
    size = math.sqrt(1 / n + share**2 / m_harmful + (1 - share) ** 2 / m_harmless)
    return share, Distance(float(gaps[best, at]), at / 1000 - 1, CHANCE * size, n, int(min(m_harmful, m_harmless)))
