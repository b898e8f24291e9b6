"""The 0.001 grid on which scores and thresholds are compared, everywhere: what a page counts is what a file holds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 2001
"""Histogram bins of width 0.001 over [-1, 1]; bin b holds scores nearest to -1 + b / 1000."""
NO_BIN = BINS
"""Stands for the bin of a row that has no score: above every bin, and on no side of a threshold."""
CHUNK = 1 << 20
"""Rows whose intermediate results are held at once."""


def grid(values: NDArray[np.floating[Any]] | float) -> NDArray[np.int64]:
    """Scores -> bins of the 0.001 grid; a half goes to the even bin. NaN has no bin."""
    return np.rint((np.clip(np.asarray(values, dtype=np.float64), -1, 1) + 1) * 1000).astype(np.int64)


def to_bins(scores: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
    """Scores as bins of the grid, NaN as NO_BIN."""
    found = np.full(len(scores), NO_BIN, dtype=np.uint16)
    for start in range(0, len(scores), CHUNK):
        part = scores[start : start + CHUNK]
        valid = ~np.isnan(part)
        found[start : start + CHUNK][valid] = grid(part[valid])
    return found


def flagged_bins(bins: NDArray[np.integer[Any]], line: int) -> NDArray[np.bool_]:
    """True where a bin is at or above the bin of the threshold, `line`; NO_BIN is not flagged.

    The one place in Python that says so; `ui/widgets/threshold_math.js` says it once more, in the browser.
    """
    return np.asarray((bins >= line) & (bins != NO_BIN))


def flagged(scores: NDArray[np.floating[Any]], threshold: float) -> NDArray[np.bool_]:
    """(rows,) True where a score is flagged at this threshold; a row without a score is not."""
    return flagged_bins(to_bins(scores), int(grid(threshold)))


def is_flagged(score: float | None, threshold: float) -> bool:
    """`flagged` for one row; None: it has no score."""
    return score is not None and not math.isnan(score) and bool(flagged_bins(grid(score), int(grid(threshold))))


def flagged_counts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(BINS,) rows that are flagged at each line, of the rows in each bin."""
    return np.asarray(counts[::-1].cumsum()[::-1])
