"""The decisions that hold, as sorted arrays: no Python object per row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reft_studio.audit.decision import GENESIS, Action

ACTIONS: Final[tuple[Action, ...]] = ("keep", "remove", "relabel", "unsure")
"""Their codes are 1 to 4; 0 is a row that nobody decided."""
KEEP, REMOVE, RELABEL, UNSURE = 1, 2, 3, 4
UNSEEN, SEEN, UNRECORDED = 0, 1, 2
"""Whether a row's text was shown to the person who decided it; decisions of earlier versions did not record that."""


@dataclass(frozen=True)
class Decided:
    """What holds at entry `seq` of the log. Arrays are (decided,) and ascending by row id; a cleared row is not among them.

    `scores` are those noted with the decision, NaN where there was none; `seen` is UNSEEN, SEEN or UNRECORDED for each (empty in what
    was made without the log). The arrays are shared: nobody changes them.
    """

    seq: int
    row_ids: NDArray[np.int64]
    codes: NDArray[np.uint8]
    scores: NDArray[np.float32]
    hash: str = field(default=GENESIS, repr=False)
    before: str = field(default=GENESIS, repr=False)
    """Hash of the state that this one was made from."""
    changed: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)
    """Rows that were decided about since that state, and below the codes that held for them in it."""
    changed_from: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8), repr=False)
    seen: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8), repr=False)

    def code_of(self, row_ids: ArrayLike) -> NDArray[np.uint8]:
        """(n,) the codes that hold for these rows, 0 where nobody decided."""
        wanted = np.asarray(row_ids, dtype=np.int64)
        if not len(self.row_ids):
            return np.zeros(wanted.shape, dtype=np.uint8)
        at = np.minimum(np.searchsorted(self.row_ids, wanted), len(self.row_ids) - 1)
        return np.where(self.row_ids[at] == wanted, self.codes[at], 0).astype(np.uint8)

    def counts(self) -> dict[Action, int]:
        """Rows by the action that holds for them; every action but `clear` is a key."""
        found = np.bincount(self.codes, minlength=len(ACTIONS) + 1)
        return {action: int(found[code]) for code, action in enumerate(ACTIONS, start=1)}

    def read(self) -> int:
        """Rows whose text was shown to the person whose decision holds."""
        return int(np.count_nonzero(self.seen == SEEN))

    def rows_with(self, *codes: int) -> NDArray[np.int64]:
        """Ids of the rows that one of these codes holds for, ascending."""
        return self.row_ids[np.isin(self.codes, codes)]


NONE = Decided(0, np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.float32))
"""Before the first decision."""
