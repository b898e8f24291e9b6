"""The 0.001 grid on which cosines and thresholds are compared, everywhere: what a page counts is what a file holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 2001
"""Histogram bins of width 0.001 over [-1, 1]; bin b holds cosines nearest to -1 + b / 1000."""


def grid(values: NDArray[np.float32] | float) -> NDArray[np.int64]:
    """Cosines -> bins of the 0.001 grid. Thresholds and scores are compared on this grid, everywhere; NaN has no bin."""
    return np.rint((np.clip(np.asarray(values, dtype=np.float64), -1, 1) + 1) * 1000).astype(np.int64)
