"""Opinions on rows that several people decided: cached in memory and updated from the end of the log only."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.decision import GENESIS
from reft_studio.audit.opinion import OVERRULES, Opinion, Opinions
from reft_studio.store.connection import reading
from reft_studio.store.decided import CODE
from reft_studio.workspace import Workspace

_KEPT = 8
_CHUNK = 20_000
"""Rows per query."""
_NO_ONE = Opinions((), np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.bool_))
_OPINION = np.dtype([("row_id", np.int64), ("by", np.int32), ("code", np.uint8), ("overrules", np.bool_), ("seq", np.int64)])
# Where SQLite finds max() among plain columns, it takes these from the row that holds the maximum (documented behaviour).
_HELD = (
    "FROM decisions AS entry WHERE dataset = ? AND kind = 'decide' AND row_id IN (SELECT value FROM json_each(?)) AND coalesce((SELECT "
    "toggle.kind FROM decisions AS toggle WHERE toggle.dataset = entry.dataset AND toggle.step = entry.step AND toggle.kind <> 'decide' "
    "ORDER BY toggle.seq DESC LIMIT 1), 'redo') <> 'undo' GROUP BY row_id, decided_by ORDER BY row_id, max(seq)"
)


@dataclass(frozen=True)
class _State:
    """The state up to entry `seq`: the first person to decide each row (arrays ascending by row), and the opinions."""

    seq: int
    hash: str
    rows: NDArray[np.int64]
    first: NDArray[np.int32]
    opinions: Opinions


_START = _State(0, GENESIS, np.zeros(0, np.int64), np.zeros(0, np.int32), _NO_ONE)
_cache: OrderedDict[tuple[Path, str], _State] = OrderedDict()
_lock = threading.Lock()


def opinions(workspace: Workspace, dataset: str) -> Opinions:
    """Opinions on all rows of a dataset that at least two people decided."""
    key = (workspace.database, dataset)
    with _lock, reading(workspace) as connection:
        head = connection.execute("SELECT seq, hash FROM chain_heads WHERE dataset = ?", (dataset,)).fetchone()
        people = _people(connection, dataset)
        if head is None or len(people) < 2:
            return _NO_ONE
        state = _cache.get(key, _START)
        if (state.seq, state.hash) != (head["seq"], head["hash"]):
            known = connection.execute("SELECT hash FROM decisions WHERE seq = ?", (state.seq,)).fetchone()
            same = known is not None and known["hash"] == state.hash and people[: len(state.opinions.people)] == state.opinions.people
            state = _updated(connection, dataset, state if same else _START, people, head=(int(head["seq"]), str(head["hash"])))
        _cache[key] = state
        _cache.move_to_end(key)
        while len(_cache) > _KEPT:
            _cache.popitem(last=False)
        return state.opinions


def opinions_of(workspace: Workspace, dataset: str, row_ids: Iterable[int]) -> dict[int, list[Opinion]]:
    """For each of a few decided rows, one opinion per person, newest first; cleared ones are left out."""
    by_row: dict[int, list[Opinion]] = {}
    columns = "SELECT row_id, decided_by, action, reason, at, seen, max(seq) AS seq"
    with reading(workspace) as connection:
        for row in connection.execute(f"{columns} {_HELD}", (dataset, json.dumps([int(row_id) for row_id in row_ids]))):
            if row["action"] != "clear":
                seen = None if row["seen"] is None else bool(row["seen"])
                opinion = Opinion(row["decided_by"], row["action"], row["reason"], row["at"], row["seq"], seen)
                by_row.setdefault(row["row_id"], []).insert(0, opinion)
    return by_row


def _people(connection: sqlite3.Connection, dataset: str) -> tuple[str, ...]:
    """Everybody who decided, in the order of their first step: one entry per step is read, not one per row."""
    query = "SELECT decided_by FROM decisions WHERE dataset = ? AND kind = 'decide' AND seq = step GROUP BY decided_by ORDER BY min(seq)"
    return tuple(row["decided_by"] for row in connection.execute(query, (dataset,)))


def _updated(connection: sqlite3.Connection, dataset: str, state: _State, people: tuple[str, ...], *, head: tuple[int, str]) -> _State:
    person = "CASE decided_by " + " ".join(f"WHEN ? THEN {code}" for code in range(len(people))) + " ELSE -1 END"
    cursor = connection.cursor()
    cursor.row_factory = None
    query = f"SELECT row_id, {person} FROM decisions WHERE seq > ? AND +dataset = ? ORDER BY seq"
    tail = np.fromiter(cursor.execute(query, (*people, state.seq, dataset)), dtype=np.dtype([("row_id", np.int64), ("by", np.int32)]))
    rows, first = _firsts(state, tail["row_id"], tail["by"])
    others = np.unique(tail["row_id"][first[np.searchsorted(rows, tail["row_id"])] != tail["by"]])
    shared = np.unique(tail["row_id"][np.isin(tail["row_id"], state.opinions.row_ids)])
    changed = np.union1d(others, shared)
    earlier = state.opinions
    kept = ~np.isin(earlier.row_ids, changed)
    columns = f"SELECT row_id, {person}, {CODE}, substr(reason, 1, {len(OVERRULES)}) = '{OVERRULES}', max(seq)"
    new = [
        np.fromiter(
            cursor.execute(f"{columns} {_HELD}", (*people, dataset, json.dumps(changed[start : start + _CHUNK].tolist()))), dtype=_OPINION
        )
        for start in range(0, len(changed), _CHUNK)
    ]
    added = np.concatenate([np.zeros(0, _OPINION), *new])
    columns_of = [
        np.concatenate([old[kept], added[name]])
        for old, name in (
            (earlier.row_ids, "row_id"),
            (earlier.by, "by"),
            (earlier.codes, "code"),
            (earlier.seqs, "seq"),
            (earlier.overrules, "overrules"),
        )
    ]
    order = np.lexsort((columns_of[3], columns_of[0]))
    arrays = [values[order] for values in columns_of]
    return _State(*head, rows, first, Opinions(people, *arrays))


def _firsts(state: _State, tail: NDArray[np.int64], by: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Every row that was ever decided, with the first person to do so."""
    rows, first_index = np.unique(tail, return_index=True)
    index = np.searchsorted(state.rows, rows)
    new = np.append(state.rows, -1)[index] != rows
    index = index[new]
    return np.insert(state.rows, index, rows[new]), np.insert(state.first, index, by[first_index[new]])
