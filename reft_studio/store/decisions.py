"""The decisions of people about rows: append-only, hash-chained, on disk before the page says "saved"."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reft_studio.audit.decision import GENESIS, HASHED, REASON_LIMIT, Action, ChainReport, Decision, DecisionChain
from reft_studio.audit.opinion import Opinion, Opinions
from reft_studio.errors import SpecError, StoreError
from reft_studio.store import opinions, records
from reft_studio.store.connection import reading, transaction
from reft_studio.store.decided import Decided, decided_at, read_singly
from reft_studio.store.decided import decided as decided_now
from reft_studio.store.writing import append, last_active_step, last_undone_step, toggle
from reft_studio.workspace import Workspace

__all__ = ["Action", "ChainReport", "Decision", "DecisionLog"]

_NEWEST = (1 << 63) - 1
_FIELDS = tuple(Decision.__dataclass_fields__)
_COLUMNS = ", ".join(_FIELDS)

# The decision that holds for a row is its newest one whose step is not undone. Where SQLite finds max() among plain columns, it
# takes these from the row that holds the maximum (documented behaviour), which saves a join.
_UNDONE = """
WITH undone (step) AS (
  SELECT step FROM (SELECT step, kind, max(seq) FROM decisions WHERE dataset = :dataset AND kind <> 'decide' GROUP BY step)
  WHERE kind = 'undo'
)"""
_HOLDING = (
    f"{_UNDONE} SELECT {_COLUMNS}, max(seq) FROM decisions "
    "WHERE dataset = :dataset AND kind = 'decide' AND step NOT IN undone {rows} GROUP BY row_id"
)
# For a few rows, asking each entry's step for its newest undo or redo is one look into an index.
_HOLDING_OF = (
    f"SELECT {_COLUMNS}, max(seq) FROM decisions AS entry WHERE dataset = :dataset AND kind = 'decide' AND seq <= :until "
    "AND row_id IN (SELECT value FROM json_each(:rows)) AND coalesce((SELECT toggle.kind FROM decisions AS toggle "
    "WHERE toggle.dataset = :dataset AND toggle.step = entry.step AND toggle.kind <> 'decide' AND toggle.seq <= :until "
    "ORDER BY toggle.seq DESC LIMIT 1), 'redo') <> 'undo' GROUP BY row_id"
)


@dataclass(frozen=True)
class DecisionLog:
    """The log of one workspace. Any number of processes may read and write it."""

    workspace: Workspace

    def decide(
        self,
        dataset: str,
        row_id: int,
        action: Action,
        *,
        reason: str = "",
        by: str = "human:me",
        score: float | None = None,
        threshold: float | None = None,
        seen: bool = False,
    ) -> Decision:
        """Append one decision; it is on disk when this returns. `seen`: the row's full text was shown to the person who decides."""
        values = np.array([np.nan if score is None else score], dtype=np.float64)
        rows = np.array([row_id], dtype=np.int64)
        _, last = self._append(dataset, rows, action, reason=reason, by=by, scores=values, threshold=threshold, seen=seen)
        with reading(self.workspace) as connection:
            return _newest(connection, last)

    def decide_many(
        self,
        dataset: str,
        row_ids: Iterable[int],
        action: Action,
        *,
        reason: str = "",
        by: str = "human:me",
        scores: Mapping[int, float] | None = None,
        threshold: float | None = None,
    ) -> list[Decision]:
        """Append the same decision for several rows as one step, unseen: one `undo` reverts all of it. Duplicate rows count once."""
        rows = np.fromiter(dict.fromkeys(int(row_id) for row_id in row_ids), np.int64)
        known = scores or {}
        values = np.array([known.get(row_id, np.nan) for row_id in rows.tolist()], dtype=np.float64)
        first, last = self._append(dataset, rows, action, reason=reason, by=by, scores=values, threshold=threshold)
        with reading(self.workspace) as connection:
            query = f"SELECT {_COLUMNS} FROM decisions WHERE seq BETWEEN ? AND ? ORDER BY seq"
            return [_decision(row) for row in connection.execute(query, (first, last))]

    def decide_bulk(
        self,
        dataset: str,
        row_ids: ArrayLike,
        action: Action,
        *,
        reason: str = "",
        by: str = "human:me",
        scores: ArrayLike | None = None,
        threshold: float | None = None,
    ) -> int:
        """`decide_many` for arrays of any size, without an object per row; returns the number of rows. `scores` are (rows,), NaN: none."""
        ids = np.asarray(row_ids, dtype=np.int64)
        rows, first_index = np.unique(ids, return_index=True)
        values = np.full(len(rows), np.nan) if scores is None else np.asarray(scores, dtype=np.float64)[first_index]
        first, last = self._append(dataset, rows, action, reason=reason, by=by, scores=values, threshold=threshold)
        return last - first + 1

    def _append(
        self,
        dataset: str,
        rows: NDArray[np.int64],
        action: Action,
        *,
        reason: str,
        by: str,
        scores: NDArray[np.float64],
        threshold: float | None,
        seen: bool = False,
    ) -> tuple[int, int]:
        """First and last seq of the new step."""
        _check(rows, action, reason, by)
        at = _finite(threshold)
        known = zip(rows.tolist(), scores.tolist(), strict=True)
        entries = ((row_id, action, reason, _finite(score), at, bool(seen)) for row_id, score in known)
        with transaction(self.workspace) as connection:
            return append(connection, dataset, by, entries)

    def undo(self, dataset: str, by: str) -> Decision | None:
        """Revert the last step of this person; None if there is none. Rows get the decision that is current without it."""
        with transaction(self.workspace) as connection:
            step = last_active_step(connection, dataset, by)
            return None if step is None else _newest(connection, toggle(connection, dataset, by, step, "undo"))

    def redo(self, dataset: str, by: str) -> Decision | None:
        """Restore the step this person undid last; None if there is none, or if they decided something since."""
        with transaction(self.workspace) as connection:
            step = last_undone_step(connection, dataset, by)
            return None if step is None else _newest(connection, toggle(connection, dataset, by, step, "redo"))

    def decided(self, dataset: str, *, until: int | None = None) -> Decided:
        """The current decision of every decided row, as arrays: cached in memory, updated from the end of the log.

        `until`: the decisions current after this entry of the log, ignoring later ones.
        """
        now = decided_now(self.workspace, dataset)
        return now if until in (None, now.seq) else decided_at(self.workspace, dataset, until or 0)

    def decided_by(self, dataset: str, entry: str) -> Decided:
        """The decisions current after the entry with this hash. Raises StoreError if the log has no such entry about the dataset."""
        now = decided_now(self.workspace, dataset)
        return now if entry == now.hash else decided_at(self.workspace, dataset, self._seq(dataset, entry))

    def _seq(self, dataset: str, entry: str) -> int:
        with reading(self.workspace) as connection:
            row = connection.execute("SELECT seq FROM decisions WHERE dataset = ? AND hash = ?", (dataset, entry)).fetchone()
        if row is None:
            raise StoreError(
                f"The decisions that were asked for (up to entry {entry[:8]}) are not in this workspace. Train on the frozen dataset, or "
                "where the rows were decided."
            )
        return int(row["seq"])

    def read_singly(self, dataset: str, row_ids: Iterable[int]) -> Decided:
        """The current decisions of those rows that were read: their text was shown to the person who decided them, one at a time."""
        return read_singly(self.workspace, dataset, row_ids)

    def current_of(self, dataset: str, row_ids: Iterable[int], *, until: int | None = None) -> dict[int, Decision]:
        """The current decisions of a few rows (a page, a card); undecided and cleared rows are absent.

        `until`: the decisions current after this entry of the log, ignoring later ones.
        """
        last = _NEWEST if until is None else until
        wanted = {"dataset": dataset, "rows": json.dumps([int(row_id) for row_id in row_ids]), "until": last}
        with reading(self.workspace) as connection:
            return {row["row_id"]: _decision(row) for row in connection.execute(_HOLDING_OF, wanted) if row["action"] != "clear"}

    def by_person(self, dataset: str) -> list[tuple[str, str, int]]:
        """Number of rows with a current decision by person and action: name, action, rows."""
        query = f"SELECT decided_by, action, count(*) FROM ({_HOLDING.format(rows='')}) WHERE action <> 'clear' GROUP BY 1, 2"
        with reading(self.workspace) as connection:
            return [tuple(row) for row in connection.execute(query, {"dataset": dataset})]

    def current(self, dataset: str) -> dict[int, Decision]:
        """The current decision of each decided row; one object per row: for small logs only, else `decided` and `current_of`."""
        with reading(self.workspace) as connection:
            rows = connection.execute(_HOLDING.format(rows=""), {"dataset": dataset})
            return {row["row_id"]: _decision(row) for row in rows if row["action"] != "clear"}

    def counts(self, dataset: str) -> dict[Action, int]:
        """Rows by current action; every action but `clear` is a key."""
        return self.decided(dataset).counts()

    def opinions(self, dataset: str) -> Opinions:
        """Each person's opinion on the rows that at least two of them decided."""
        return opinions.opinions(self.workspace, dataset)

    def opinions_of(self, dataset: str, row_ids: Iterable[int]) -> dict[int, list[Opinion]]:
        """For each of a few decided rows, one opinion per person, newest first."""
        return opinions.opinions_of(self.workspace, dataset, row_ids)

    def conflicts(self, dataset: str) -> NDArray[np.int64]:
        """Ids of rows on which two people differ and nobody overruled the others, ascending."""
        return self.opinions(dataset).conflicts()

    def history(self, dataset: str, row_id: int | None = None, limit: int = 100) -> list[Decision]:
        """Entries of a dataset, or of one row, newest first; including undone ones and the undo entries."""
        where = "" if row_id is None else " AND row_id = :row_id"
        query = f"SELECT {_COLUMNS} FROM decisions WHERE dataset = :dataset{where} ORDER BY seq DESC LIMIT :limit"
        with reading(self.workspace) as connection:
            rows = connection.execute(query, {"dataset": dataset, "row_id": row_id, "limit": limit})
            return [_decision(row) for row in rows]

    def entries(self, dataset: str | None = None) -> Iterator[Decision]:
        """Every entry, or every one of a dataset, oldest first, streamed; entries added meanwhile are not included."""
        with reading(self.workspace) as connection:
            yield from _entries(connection, dataset)

    def head(self, dataset: str) -> tuple[int, str]:
        """Seq and hash of the newest entry of a dataset (0 and the genesis hash before the first), to be recorded for `verify`."""
        with reading(self.workspace) as connection:
            row = connection.execute("SELECT seq, hash FROM chain_heads WHERE dataset = ?", (dataset,)).fetchone()
        return (0, GENESIS) if row is None else (row["seq"], row["hash"])

    def verify(self, known: Iterable[str] = ()) -> ChainReport:
        """Verify every entry: hash, link, no gap, nothing truncated at the end.

        `known` are hashes recorded elsewhere (in frozen datasets, bundles): each must still be in the chain, so that a completely rewritten
        log is detected too.
        """
        try:
            with reading(self.workspace) as connection:  # one state throughout: decisions made meanwhile are no damage
                return _verify(connection, set(known))
        except StoreError as exc:
            return ChainReport(False, 0, None, str(exc), {})


def _entries(connection: sqlite3.Connection, dataset: str | None) -> Iterator[Decision]:
    where = "" if dataset is None else "WHERE dataset = :dataset "
    yield from map(_decision, connection.execute(f"SELECT {_COLUMNS} FROM decisions {where}ORDER BY seq", {"dataset": dataset}))


def _verify(connection: sqlite3.Connection, missing: set[str]) -> ChainReport:
    chain, expected = DecisionChain(), 1
    cursor = connection.cursor()
    cursor.row_factory = None  # plain tuples: a million of them
    for *values, claimed in cursor.execute(f"SELECT {', '.join(HASHED)}, hash FROM decisions ORDER BY seq"):
        problem = f"is missing; the next one is {values[0]}" if values[0] != expected else chain.add_values(tuple(values), claimed)
        if problem:
            return ChainReport(False, chain.entries, expected, f"Decision {expected} {problem}.", chain.heads)
        missing.discard(claimed)
        expected += 1
    heads = {row["dataset"]: (row["seq"], row["entries"], row["hash"]) for row in connection.execute("SELECT * FROM chain_heads")}
    if heads != chain.ends:
        return ChainReport(False, chain.entries, expected, "The newest decisions are missing from the end of the log.", chain.heads)
    record_report = records.verify(connection, missing)
    if not record_report.ok:
        return ChainReport(False, chain.entries, None, record_report.reason, chain.heads)
    # An index that differs from its table would answer wrongly, though every entry is as it was written.
    if (state := connection.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
        return ChainReport(False, chain.entries, None, f"The database file is damaged ({str(state).splitlines()[-1][:200]}).", chain.heads)
    if missing:
        reason = f"{len(missing)} decisions or records that frozen datasets or bundles refer to are not in the log."
        return ChainReport(False, chain.entries, None, reason, chain.heads)
    return ChainReport(True, chain.entries, None, "", chain.heads)


def _newest(connection: sqlite3.Connection, seq: int) -> Decision:
    return _decision(connection.execute(f"SELECT {_COLUMNS} FROM decisions WHERE seq = ?", (seq,)).fetchone())


def _check(rows: NDArray[np.int64], action: str, reason: str, by: str) -> None:
    if action not in get_args(Action):
        raise SpecError(f"There is no decision '{action[:40]}'. Choose one of: {', '.join(get_args(Action))}.")
    if not len(rows):
        raise SpecError("No row was chosen. Choose at least one row to decide about.")
    if rows.min() < 0:
        raise SpecError(f"Row {rows.min()} does not exist: rows are counted from 0.")
    if len(reason) > REASON_LIMIT:
        raise SpecError(f"The reason has {len(reason)} characters; at most {REASON_LIMIT} are kept. Shorten it.")
    if not by.strip():
        raise SpecError("A decision needs a name. Give the reviewer's name in Settings.")


def _finite(value: float | None) -> float | None:
    """A plain float, or None for a row without a score (NaN)."""
    return None if value is None or not math.isfinite(value) else float(value)


def _decision(row: sqlite3.Row) -> Decision:
    values = {name: row[name] for name in _FIELDS}
    return Decision(**{**values, "seen": None if values["seen"] is None else bool(values["seen"])})
