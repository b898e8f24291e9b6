"""Which rows are kept: what a person decided about a row, else the threshold.

Every page, the frozen dataset, the cleaned file and the filter of a run ask here.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.decision import Decision
from reft_studio.audit.held import ACTIONS, KEEP, RELABEL, REMOVE, UNSURE
from reft_studio.data.grid import NO_BIN, flagged_bins, grid, to_bins
from reft_studio.data.grid import is_flagged as is_flagged

Outcome = Literal["keep", "remove", "undecided"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("keep", "remove", "undecided")
"""The outcomes by their codes, which are 0, 1 and 2."""
KEPT, REMOVED, UNDECIDED = 0, 1, 2
Bins = NDArray[np.integer[Any]]
REFUSAL = "I'm sorry, but I can't help with that."
"""What a relabelled row is trained to answer, unless another text is given."""


def outcomes(bins: Bins, threshold: float, codes: NDArray[np.uint8] | int) -> NDArray[np.int8]:
    """The outcome of each row, of the bin of its score and the code of the action that holds (0: nobody decided); shapes are broadcast.

    `relabel` keeps a row (with a refusal); `unsure`, or no score and no decision, leaves it undecided.
    """
    bins, codes = np.broadcast_arrays(bins, np.asarray(codes))
    found = np.where(flagged_bins(bins, int(grid(threshold))), REMOVED, KEPT).astype(np.int8)
    found[(bins == NO_BIN) | (codes == UNSURE)] = UNDECIDED
    found[(codes == KEEP) | (codes == RELABEL)] = KEPT
    found[codes == REMOVE] = REMOVED
    return found


def overruled(bins: Bins, threshold: float, codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Rows that a person decided otherwise than the threshold; `unsure` is neither for nor against it."""
    alone, found = outcomes(bins, threshold, 0), outcomes(bins, threshold, codes)
    return np.asarray((alone != found) & (alone != UNDECIDED) & (found != UNDECIDED))


def effective(score: float | None, threshold: float, human: Decision | None) -> Outcome:
    """`outcomes` for one row; None: it has no score."""
    code = 0 if human is None or human.action == "clear" else ACTIONS.index(human.action) + 1
    bins = to_bins(np.array([np.nan if score is None else score], dtype=np.float64))
    return OUTCOMES[int(outcomes(bins, threshold, code)[0])]


def name(threshold: float, rule: str | None = None) -> str:
    """Who decided, when the threshold did, as it stands in records: `policy:threshold=0.31`, and by which rule it was found."""
    return f"policy:threshold={threshold:.6g}" + (f" ({rule})" if rule else "")
