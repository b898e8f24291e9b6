"""Selects the share of a dataset's rows with the lowest scores: how alignment data are chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reft_studio.errors import SpecError
from reft_studio.scoring.scores import ScoreSet


def lowest(score: ScoreSet, *, share: float) -> NDArray[np.int64]:
    """Ids of the `share` of all rows with the lowest scores, in file order; rows without a score are never among them.

    Exactly round(share · rows), or as many as have a score. Raises SpecError if that is none.
    """
    if not 0 < share <= 1:
        raise SpecError(f"share is {share:g}, but it is a share of the rows: give more than 0, and at most 1 (half of them is 0.5).")
    scored = score.order()[: score.rows - score.missing]
    wanted = min(round(share * score.rows), len(scored))
    if not wanted:
        raise SpecError(f"A share of {share:g} of {score.rows:,} rows, of which {score.missing:,} have no score, is no row. Give more.")
    return np.asarray(score.row_ids()[np.sort(scored[len(scored) - wanted :])], dtype=np.int64)


def planted(known: Sequence[bool | None]) -> float | None:
    """Share of rows labelled harmful (0 to 1); None unless every row has a label."""
    return None if not known or None in known else sum(map(bool, known)) / len(known)
