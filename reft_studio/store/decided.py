"""The decisions that hold, as sorted arrays: kept in memory and brought up to date from the end of the log only."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reft_studio.audit.decision import GENESIS, Action
from reft_studio.store.connection import reading
from reft_studio.workspace import Workspace

ACTIONS: Final[tuple[Action, ...]] = ("keep", "remove", "relabel", "unsure")
"""Their codes are 1 to 4; 0 is a row that nobody decided."""
KEEP, REMOVE, RELABEL, UNSURE = 1, 2, 3, 4
CODE = "CASE action WHEN 'keep' THEN 1 WHEN 'remove' THEN 2 WHEN 'relabel' THEN 3 WHEN 'unsure' THEN 4 ELSE 0 END"
"""SQL for the code of an action; 0 for `clear`."""
_KEPT = 8
"""Datasets whose decisions are kept in memory."""
_ENTRY = np.dtype([("row_id", np.int64), ("code", np.uint8), ("score", np.float32)])
# "+dataset" keeps SQLite from walking every entry of the dataset by its index: the end of the log is a range of seq.
_TAIL = f"SELECT row_id, {CODE}, coalesce(score, 9e999) FROM decisions WHERE seq > ? AND +dataset = ? ORDER BY seq"


@dataclass(frozen=True)
class Decided:
    """What holds at entry `seq` of the log. Arrays are (decided,) and ascending by row id; a cleared row is not among them.

    `scores` are those noted with the decision, NaN where there was none. The arrays are shared: nobody changes them.
    """

    seq: int
    row_ids: NDArray[np.int64]
    codes: NDArray[np.uint8]
    scores: NDArray[np.float32]
    hash: str = field(default=GENESIS, repr=False)

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

    def rows_with(self, *codes: int) -> NDArray[np.int64]:
        """Ids of the rows that one of these codes holds for, ascending."""
        return self.row_ids[np.isin(self.codes, codes)]


NONE = Decided(0, np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.float32))
"""Before the first decision."""
_cache: OrderedDict[tuple[Path, str], Decided] = OrderedDict()
_lock = threading.Lock()


def decided(workspace: Workspace, dataset: str) -> Decided:
    """The decisions that hold now; costs one look at the database unless something was decided since the last call."""
    key = (workspace.database, dataset)
    with _lock, reading(workspace) as connection:
        held = _cache.get(key, NONE)
        head = connection.execute("SELECT seq, hash FROM chain_heads WHERE dataset = ?", (dataset,)).fetchone()
        if head is None:
            _cache.pop(key, None)
            return NONE
        if (head["seq"], head["hash"]) != (held.seq, held.hash):
            held = brought_up(connection, dataset, held, seq=int(head["seq"]), newest=str(head["hash"]))
        _cache[key] = held
        _cache.move_to_end(key)
        while len(_cache) > _KEPT:
            _cache.popitem(last=False)
        return held


def brought_up(connection: sqlite3.Connection, dataset: str, held: Decided, *, seq: int, newest: str) -> Decided:
    """`held` with the entries after it; from the beginning if it is of another log (a database that was put back)."""
    known = connection.execute("SELECT hash FROM decisions WHERE seq = ?", (held.seq,)).fetchone()
    if known is None or known["hash"] != held.hash:
        held = NONE
    cursor = connection.cursor()
    cursor.row_factory = None  # plain tuples: a million of them
    tail = np.fromiter(cursor.execute(_TAIL, (held.seq, dataset)), dtype=_ENTRY)
    rows, last = np.unique(tail["row_id"][::-1], return_index=True)
    tail = tail[::-1][last]  # the newest entry of each row says what holds for it
    kept = ~_among(held.row_ids, rows)
    added = tail[tail["code"] > 0]
    rest = held.row_ids[kept]
    at = np.searchsorted(rest, added["row_id"])
    scores = np.where(np.isinf(added["score"]), np.float32(np.nan), added["score"])
    arrays = (
        np.insert(rest, at, added["row_id"]),
        np.insert(held.codes[kept], at, added["code"]),
        np.insert(held.scores[kept], at, scores),
    )
    for array in arrays:
        array.flags.writeable = False
    return Decided(seq, *arrays, hash=newest)


def _among(row_ids: NDArray[np.int64], ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the ascending `row_ids` are among the other ascending ones."""
    found = np.zeros(len(row_ids), dtype=bool)
    if len(row_ids) and len(ascending):
        at = np.minimum(np.searchsorted(row_ids, ascending), len(row_ids) - 1)
        found[at[row_ids[at] == ascending]] = True
    return found
