"""The current decisions as sorted arrays: cached in memory and updated from the end of the log only."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.held import ACTIONS as ACTIONS
from reft_studio.audit.held import KEEP as KEEP
from reft_studio.audit.held import NONE as NONE
from reft_studio.audit.held import RELABEL as RELABEL
from reft_studio.audit.held import REMOVE as REMOVE
from reft_studio.audit.held import SEEN as SEEN
from reft_studio.audit.held import UNRECORDED as UNRECORDED
from reft_studio.audit.held import UNSEEN as UNSEEN
from reft_studio.audit.held import UNSURE as UNSURE
from reft_studio.audit.held import Decided as Decided
from reft_studio.errors import StoreError
from reft_studio.store.connection import reading
from reft_studio.workspace import Workspace

CODE = "CASE action WHEN 'keep' THEN 1 WHEN 'remove' THEN 2 WHEN 'relabel' THEN 3 WHEN 'unsure' THEN 4 ELSE 0 END"
"""SQL for the code of an action; 0 for `clear`."""
_KEPT = 8
"""Datasets whose decisions are cached."""
_ENTRY = np.dtype([("row_id", np.int64), ("code", np.uint8), ("score", np.float32), ("seen", np.uint8)])
_HELD = f"row_id, {CODE}, coalesce(score, 9e999), coalesce(seen, {UNRECORDED})"
# "+dataset" keeps SQLite from walking every entry of the dataset by its index: the end of the log is a range of seq.
_TAIL = f"SELECT {_HELD} FROM decisions WHERE seq > ? AND seq <= ? AND +dataset = ? ORDER BY seq"

# Where SQLite finds max() among plain columns, it takes these from the row that holds the maximum (documented behaviour).
_SINGLY = (
    f"SELECT {_HELD} FROM (SELECT row_id, action, score, seen, max(seq) FROM decisions AS entry "
    "WHERE dataset = ? AND kind = 'decide' AND row_id IN (SELECT value FROM json_each(?)) AND coalesce((SELECT toggle.kind FROM decisions "
    "AS toggle WHERE toggle.dataset = entry.dataset AND toggle.step = entry.step AND toggle.kind <> 'decide' ORDER BY toggle.seq DESC "
    "LIMIT 1), 'redo') <> 'undo' GROUP BY row_id) AS held WHERE action <> 'clear' AND seen = 1 ORDER BY row_id"
)
_cache: OrderedDict[tuple[Path, str], Decided] = OrderedDict()
_lock = threading.Lock()


def decided(workspace: Workspace, dataset: str) -> Decided:
    """The current decisions; costs one query unless something was decided since the last call."""
    key = (workspace.database, dataset)
    with _lock, reading(workspace) as connection:
        cached = _cache.get(key, NONE)
        head = connection.execute("SELECT seq, hash FROM chain_heads WHERE dataset = ?", (dataset,)).fetchone()
        if head is None:
            _cache.pop(key, None)
            return NONE
        if (head["seq"], head["hash"]) != (cached.seq, cached.hash):
            cached = updated(connection, dataset, cached, seq=int(head["seq"]), newest=str(head["hash"]))
        _cache[key] = cached
        _cache.move_to_end(key)
        while len(_cache) > _KEPT:
            _cache.popitem(last=False)
        return cached


def decided_at(workspace: Workspace, dataset: str, seq: int) -> Decided:
    """The decisions current after this entry of the dataset; reads the log from its beginning. Raises StoreError if there is none."""
    if not seq:
        return NONE
    with reading(workspace) as connection:
        row = connection.execute("SELECT hash FROM decisions WHERE seq = ? AND dataset = ?", (seq, dataset)).fetchone()
        if row is None:
            raise StoreError(f"The log of decisions has no entry {seq} about this dataset: it was put back or replaced. Try again.")
        return updated(connection, dataset, NONE, seq=seq, newest=str(row["hash"]))


def read_singly(workspace: Workspace, dataset: str, row_ids: Iterable[int]) -> Decided:
    """The current decisions of those rows whose text was shown to the person who decided."""
    with reading(workspace) as connection:
        cursor = connection.cursor()
        cursor.row_factory = None
        rows = np.fromiter(cursor.execute(_SINGLY, (dataset, json.dumps([int(row_id) for row_id in row_ids]))), dtype=_ENTRY)
    scores = np.where(np.isinf(rows["score"]), np.float32(np.nan), rows["score"])
    return Decided(0, rows["row_id"].copy(), rows["code"].copy(), scores, seen=rows["seen"].copy())


def updated(connection: sqlite3.Connection, dataset: str, cached: Decided, *, seq: int, newest: str) -> Decided:
    """`held` updated with the entries after it; from the beginning if it is of another log (a restored database)."""
    stored_entry = connection.execute("SELECT hash FROM decisions WHERE seq = ?", (cached.seq,)).fetchone()
    if stored_entry is None or stored_entry["hash"] != cached.hash:
        cached = NONE
    cursor = connection.cursor()
    cursor.row_factory = None  # plain tuples: a million of them
    tail = np.fromiter(cursor.execute(_TAIL, (cached.seq, seq, dataset)), dtype=_ENTRY)
    rows, last = np.unique(tail["row_id"][::-1], return_index=True)
    tail = tail[::-1][last]  # the newest entry of each row says what holds for it
    kept = ~_among(cached.row_ids, rows)
    added = tail[tail["code"] > 0]
    unchanged = cached.row_ids[kept]
    index = np.searchsorted(unchanged, added["row_id"])
    new_scores = np.where(np.isinf(added["score"]), np.float32(np.nan), added["score"])
    arrays = (
        np.insert(unchanged, index, added["row_id"]),
        np.insert(cached.codes[kept], index, added["code"]),
        np.insert(cached.scores[kept], index, new_scores),
        np.insert(cached.seen[kept], index, added["seen"]),
    )
    for array in arrays:
        array.flags.writeable = False
    row_ids, codes, scores, seen = arrays
    changed_from = cached.code_of(rows)
    return Decided(seq, row_ids, codes, scores, hash=newest, before=cached.hash, changed=rows, changed_from=changed_from, seen=seen)


def _among(row_ids: NDArray[np.int64], ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the ascending `row_ids` are in the other ascending array."""
    mask = np.zeros(len(row_ids), dtype=bool)
    if len(row_ids) and len(ascending):
        index = np.minimum(np.searchsorted(row_ids, ascending), len(row_ids) - 1)
        mask[index[row_ids[index] == ascending]] = True
    return mask
