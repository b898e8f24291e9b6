"""How many rows of a file are harmful: its scores as a mix of the two kinds of calibration prompts, at no line in particular.

Rows of unknown kind and prompts of known kind are one likelihood with three unknowns: the share of harmful rows and the score
distribution of either kind. All three are fitted together by expectation maximisation, so that what a few hundred prompts leave
open about the distributions is part of the interval. With the distributions taken as known, as in the usual mixture fit, intervals
of overlapping kinds held the truth in 35 to 85 of 100 simulated files only, a bootstrap over rows and prompts notwithstanding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from reft_studio.stats import Estimate, chi_squared_tail

LEAST = 60
"""Calibration prompts of each kind below which nothing is estimated from them."""
LEAST_ROWS = 30
"""Scored rows below which a file is too small to be taken for a mix."""
REJECTED = 0.05
"""Chance of a misfit as large as the one seen below which the file is no mix of the calibration prompts."""
TINY = 0.1
"""Rows out of place, as a share of those estimated to be harmful, up to which a misfit that is surely seen only widens the interval."""
TAILS = (0.5, 0.2, 0.08, 0.03)
"""Shares of a kind that lie beyond an edge, on the side of the other kind."""
IN_TAIL = 5
"""Prompts that must lie beyond an edge."""
_LEVEL, _FEW = 3.841, 10
"""The interval: every share whose log likelihood is at most half of the first, the 95 % point of chi-squared, below the highest. With few
prompts that point is a little low: it is raised by the second over the number of prompts of the rarer kind (from simulation)."""
_STEPS, _STILL = 400, 1e-7
_SHARES = np.concatenate([[0.0], np.geomspace(1e-4, 0.02, 20), np.linspace(0.03, 0.97, 48), 1 - np.geomspace(0.02, 1e-4, 20), [1.0]])
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mixture:
    """`rate` is the share of harmful rows in percent; `misfit` the share of rows (0 to 1) that lies where the best mix has none.

    `chance` is the probability of a misfit at least as large in a file that is such a mix (likelihood-ratio test).
    """

    rate: Estimate
    misfit: float
    chance: float

    @property
    def fits(self) -> bool:
        """Whether the file may be taken for a mix of the two kinds."""
        return self.chance >= REJECTED or 100 * self.misfit <= TINY * self.rate.value


def mixture(file: Counts, calibration: Counts) -> Mixture | None:
    """Fit counts on the grid: `file` is (bins,), `calibration` (2, bins) of harmful and harmless prompts; None with too few of any."""
    if int(file.sum()) < LEAST_ROWS or int(calibration.sum(axis=1).min()) < LEAST:
        return None
    return _mixture(file.astype(np.int64).tobytes(), calibration.astype(np.int64).tobytes())


@lru_cache(maxsize=32)
def _mixture(rows: bytes, prompts: bytes) -> Mixture:
    """Kept, since pages ask again with every decision; a fit takes some hundredths of a second."""
    file = np.frombuffer(rows, dtype=np.int64)
    calibration = np.frombuffer(prompts, dtype=np.int64).reshape(2, -1)
    cells = np.stack([np.add.reduceat(counts, edges(calibration)) for counts in (file, *calibration)]).astype(np.float64)
    level = _LEVEL * (1 + _FEW / float(cells[1:].sum(axis=1).min()))
    shares, likelihood = _profile(cells, level)
    top = float(likelihood.max())
    inside = shares[2 * (top - likelihood) <= level]
    found = float(shares[int(likelihood.argmax())])
    rate = Estimate(100 * found, 100 * float(inside.min()), 100 * float(inside.max()), int(file.sum()), 0, "mixture, profile likelihood")
    misfit, chance = _misfit(cells, found, top)
    widened = replace(rate, low=max(0.0, rate.low - 100 * misfit), high=min(100.0, rate.high + 100 * misfit))
    return Mixture(widened if chance < REJECTED else rate, misfit, chance)


def edges(calibration: Counts) -> NDArray[np.int64]:
    """First bins of the cells that scores are counted in, the lowest one 0: few cells, fine where the kinds meet.

    An edge lies half way between two prompts: on one of them, the tail beyond would hold more than its share.
    """
    harmful, harmless = (np.repeat(np.arange(calibration.shape[1]), counts) for counts in calibration)
    found = {_between(harmful, round(tail * len(harmful))) for tail in TAILS if tail * len(harmful) >= IN_TAIL}
    found |= {_between(harmless, len(harmless) - round(tail * len(harmless))) for tail in TAILS if tail * len(harmless) >= IN_TAIL}
    return np.array(sorted((found | {_best_line(harmful, harmless)} | {0}) - {calibration.shape[1]}), dtype=np.int64)


def _between(ascending: NDArray[np.int64], rank: int) -> int:
    return math.ceil((int(ascending[rank - 1]) + int(ascending[rank]) + 1) / 2)


def _best_line(harmful: NDArray[np.int64], harmless: NDArray[np.int64]) -> int:
    """The line that tells the kinds apart best, in the middle of the gap below it."""
    lines = np.unique(np.concatenate([harmful, harmless + 1]))
    apart = np.searchsorted(harmless, lines) / len(harmless) - np.searchsorted(harmful, lines) / len(harmful)
    best = int(lines[int(apart.argmax())])
    below = np.concatenate([harmful[harmful < best], harmless[harmless < best]])
    return (best + int(below.max()) + 1) // 2 if len(below) else best


def _profile(cells: Floats, level: float) -> tuple[Floats, Floats]:
    """Shares, ascending, and the highest log likelihood that each allows; closer together where the interval begins, peaks and ends."""
    shares = np.asarray(_SHARES)
    likelihood = _likelihood(cells, shares)
    for _ in range(2):
        inside = np.flatnonzero(2 * (likelihood.max() - likelihood) <= level)
        marks = {int(likelihood.argmax()), int(inside[0]), int(inside[-1])}
        gaps = sorted({at for mark in marks for at in (mark - 1, mark) if 0 <= at < len(shares) - 1})
        between = np.concatenate([np.linspace(shares[at], shares[at + 1], 10)[1:-1] for at in gaps])
        shares, likelihood = np.append(shares, between), np.append(likelihood, _likelihood(cells, between))
        order = np.argsort(shares)
        shares, likelihood = shares[order], likelihood[order]
    return shares, likelihood


def _likelihood(cells: Floats, shares: Floats) -> Floats:
    """(n,) the log likelihood of the three rows of counts at each share, highest over the distributions of both kinds."""
    harmful, harmless = _fitted(cells, shares)
    mixed = shares[:, None] * harmful + (1 - shares)[:, None] * harmless
    found: Floats = _log_likelihood(cells[0], mixed) + _log_likelihood(cells[1], harmful) + _log_likelihood(cells[2], harmless)
    return found


def _fitted(cells: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """(n, cells) twice: the distributions of harmful and harmless scores that fit best at each share, by expectation maximisation."""
    rows, *prompts = cells
    share = shares[:, None]
    harmful, harmless = (np.tile((kind + 1 / len(rows)) / (kind.sum() + 1), (len(shares), 1)) for kind in prompts)
    for step in range(_STEPS):
        ours, theirs = share * harmful, (1 - share) * harmless
        belongs = ours / np.maximum(ours + theirs, 1e-300)
        new = prompts[0] + rows * belongs, prompts[1] + rows * (1 - belongs)
        before = harmful, harmless
        harmful, harmless = (counts / counts.sum(axis=1, keepdims=True) for counts in new)
        if step % 20 == 19 and max(float(np.abs(harmful - before[0]).max()), float(np.abs(harmless - before[1]).max())) < _STILL:
            break
    return harmful, harmless


def _log_likelihood(counts: Floats, shares: Floats) -> Floats:
    found: Floats = np.where(counts > 0, counts * np.log(np.maximum(shares, 1e-300)), 0.0).sum(axis=-1)
    return found


def _misfit(cells: Floats, share: float, top: float) -> tuple[float, float]:
    """The share of rows out of place, and the chance of a likelihood ratio as large against cells that are free of any mix."""
    rows, harmful, harmless = (counts / counts.sum() for counts in cells)
    away = float(np.abs(rows - share * harmful - (1 - share) * harmless).sum() / 2)
    free = sum(float(_log_likelihood(counts, counts / counts.sum())) for counts in cells)
    freedom = len(rows) - 2
    chance = chi_squared_tail(2 * (free - top), freedom=freedom) if freedom > 0 else 1.0
    return away, chance
