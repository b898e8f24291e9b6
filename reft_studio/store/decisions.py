"""What people decided about rows: append-only, hash-chained, on disk before the page says "saved"."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args

from reft_studio.audit.decision import GENESIS, Action, Chain, ChainReport, Decision, Kind, entry_hash
from reft_studio.errors import SpecError, StoreError
from reft_studio.store.connection import reading, transaction
from reft_studio.store.decided import Decided
from reft_studio.store.decided import decided as decided_now
from reft_studio.workspace import Workspace

__all__ = ["Action", "ChainReport", "Decision", "DecisionLog"]

REASON_LIMIT = 2000
"""Characters of a reason; longer text belongs elsewhere."""
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
    f"SELECT {_COLUMNS}, max(seq) FROM decisions AS entry WHERE dataset = :dataset AND kind = 'decide' "
    "AND row_id IN (SELECT value FROM json_each(:rows)) AND coalesce((SELECT toggle.kind FROM decisions AS toggle "
    "WHERE toggle.dataset = :dataset AND toggle.step = entry.step AND toggle.kind <> 'decide' ORDER BY toggle.seq DESC LIMIT 1), 'redo') "
    "<> 'undo' GROUP BY row_id"
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
    ) -> Decision:
        """Append one decision; it is on disk when this returns."""
        scores = None if score is None else {row_id: score}
        return self.decide_many(dataset, [row_id], action, reason=reason, by=by, scores=scores, threshold=threshold)[0]

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
        """Append the same decision for many rows as one step: one `undo` takes all of it back. Each row counts once."""
        rows = list(dict.fromkeys(int(row_id) for row_id in row_ids))
        _check(rows, action, reason, by)
        known = scores or {}
        with transaction(self.workspace) as connection:
            writer = _Writer(connection, dataset, by)
            step = writer.seq + 1
            for row_id in rows:
                writer.add(row_id, action, reason, score=known.get(row_id), threshold=threshold, kind="decide", step=step)
            return writer.finish()

    def undo(self, dataset: str, by: str) -> Decision | None:
        """Take back the last step of this person; None if there is none. Rows fall back to the decision that held without it."""
        with transaction(self.workspace) as connection:
            step = _last_active_step(connection, dataset, by)
            return None if step is None else _toggle(connection, dataset, by, step, "undo")

    def redo(self, dataset: str, by: str) -> Decision | None:
        """Bring back the step this person undid last; None if there is none, or if they decided something since."""
        with transaction(self.workspace) as connection:
            step = _last_undone_step(connection, dataset, by)
            return None if step is None else _toggle(connection, dataset, by, step, "redo")

    def decided(self, dataset: str) -> Decided:
        """What holds for every decided row, as arrays: kept in memory, brought up to date from the end of the log."""
        return decided_now(self.workspace, dataset)

    def current_of(self, dataset: str, row_ids: Iterable[int]) -> dict[int, Decision]:
        """The decision that holds for each of a few rows (a page, a card); a row that nobody decided, or that was cleared, is not in it."""
        wanted = {"dataset": dataset, "rows": json.dumps([int(row_id) for row_id in row_ids])}
        with reading(self.workspace) as connection:
            return {row["row_id"]: _decision(row) for row in connection.execute(_HOLDING_OF, wanted) if row["action"] != "clear"}

    def current(self, dataset: str) -> dict[int, Decision]:
        """The decision that holds for each decided row; one object per row: for small logs only, else `decided` and `current_of`."""
        with reading(self.workspace) as connection:
            found = connection.execute(_HOLDING.format(rows=""), {"dataset": dataset})
            return {row["row_id"]: _decision(row) for row in found if row["action"] != "clear"}

    def counts(self, dataset: str) -> dict[Action, int]:
        """Rows by the action that holds for them; every action but `clear` is a key."""
        return self.decided(dataset).counts()

    def history(self, dataset: str, row_id: int | None = None, limit: int = 100) -> list[Decision]:
        """Entries of a dataset, or of one row, newest first; undone ones and the undoing included."""
        where = "" if row_id is None else " AND row_id = :row_id"
        query = f"SELECT {_COLUMNS} FROM decisions WHERE dataset = :dataset{where} ORDER BY seq DESC LIMIT :limit"
        with reading(self.workspace) as connection:
            found = connection.execute(query, {"dataset": dataset, "row_id": row_id, "limit": limit})
            return [_decision(row) for row in found]

    def entries(self, dataset: str | None = None) -> Iterator[Decision]:
        """Every entry, or every one of a dataset, oldest first, streamed; what is added meanwhile is not among them."""
        with reading(self.workspace) as connection:
            yield from _entries(connection, dataset)

    def head(self, dataset: str) -> tuple[int, str]:
        """Seq and hash of the newest entry of a dataset (0 and the genesis hash before the first): write it down, `verify` asks for it."""
        with reading(self.workspace) as connection:
            row = connection.execute("SELECT seq, hash FROM chain_heads WHERE dataset = ?", (dataset,)).fetchone()
        return (0, GENESIS) if row is None else (row["seq"], row["hash"])

    def verify(self, known: Iterable[str] = ()) -> ChainReport:
        """Check every entry: hash, link, no gap, nothing cut off at the end.

        `known` are hashes noted elsewhere (in frozen datasets, bundles): each must still be in the chain, so that a log rewritten
        as a whole is seen too.
        """
        try:
            with reading(self.workspace) as connection:  # one state throughout: decisions made meanwhile are no damage
                return _verify(connection, set(known))
        except StoreError as exc:
            return ChainReport(False, 0, None, str(exc), {})


class _Writer:
    """Appends entries for one dataset inside a transaction, linking each to the one before."""

    def __init__(self, connection: sqlite3.Connection, dataset: str, by: str) -> None:
        self.connection, self.dataset, self.by = connection, dataset, by
        head = connection.execute("SELECT hash FROM chain_heads WHERE dataset = ?", (dataset,)).fetchone()
        self.previous = GENESIS if head is None else head["hash"]
        newest = "SELECT max(coalesce((SELECT max(seq) FROM decisions), 0), coalesce((SELECT max(seq) FROM chain_heads), 0))"
        self.seq = int(connection.execute(newest).fetchone()[0])
        self.at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.entries: list[Decision] = []

    def add(self, row_id: int, action: Action, reason: str, *, score: float | None, threshold: float | None, kind: Kind, step: int) -> None:
        self.seq += 1
        values = {
            "seq": self.seq,
            "dataset": self.dataset,
            "row_id": row_id,
            "action": action,
            "reason": reason,
            "decided_by": self.by,
            "at": self.at,
            "score": _finite(score),
            "threshold": _finite(threshold),
            "previous": self.previous,
            "kind": kind,
            "step": step,
        }
        self.previous = entry_hash(values)
        self.entries.append(Decision(hash=self.previous, **values))  # type: ignore[arg-type]

    def finish(self) -> list[Decision]:
        marks = ", ".join("?" * len(_FIELDS))
        self.connection.executemany(
            f"INSERT INTO decisions ({_COLUMNS}) VALUES ({marks})", ([getattr(entry, name) for name in _FIELDS] for entry in self.entries)
        )
        self.connection.execute(
            "INSERT INTO chain_heads (dataset, seq, entries, hash) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (dataset) DO UPDATE SET seq = excluded.seq, entries = entries + excluded.entries, hash = excluded.hash",
            (self.dataset, self.seq, len(self.entries), self.previous),
        )
        return self.entries


def _entries(connection: sqlite3.Connection, dataset: str | None) -> Iterator[Decision]:
    where = "" if dataset is None else "WHERE dataset = :dataset "
    yield from map(_decision, connection.execute(f"SELECT {_COLUMNS} FROM decisions {where}ORDER BY seq", {"dataset": dataset}))


def _verify(connection: sqlite3.Connection, missing: set[str]) -> ChainReport:
    chain, expected = Chain(), 1
    for decision in _entries(connection, None):
        problem = f"is missing; the next one is {decision.seq}" if decision.seq != expected else chain.add(vars(decision))
        if problem:
            return ChainReport(False, chain.entries, expected, f"Decision {expected} {problem}.", chain.heads)
        missing.discard(decision.hash)
        expected += 1
    heads = {row["dataset"]: row["hash"] for row in connection.execute("SELECT dataset, hash FROM chain_heads")}
    if heads != chain.heads:
        return ChainReport(False, chain.entries, expected, "The newest decisions are missing from the end of the log.", chain.heads)
    if missing:
        reason = f"{len(missing)} decisions that frozen datasets or bundles refer to are not in the log."
        return ChainReport(False, chain.entries, None, reason, chain.heads)
    return ChainReport(True, chain.entries, None, "", chain.heads)


def _check(rows: Sequence[int], action: str, reason: str, by: str) -> None:
    if action not in get_args(Action):
        raise SpecError(f"There is no decision '{action[:40]}'. Choose one of: {', '.join(get_args(Action))}.")
    if not rows:
        raise SpecError("No row was chosen. Choose at least one row to decide about.")
    if min(rows) < 0:
        raise SpecError(f"Row {min(rows)} does not exist: rows are counted from 0.")
    if len(reason) > REASON_LIMIT:
        raise SpecError(f"The reason has {len(reason)} characters; at most {REASON_LIMIT} are kept. Shorten it.")
    if not by.strip():
        raise SpecError("A decision needs a name. Give the reviewer's name in Settings.")


def _finite(value: float | None) -> float | None:
    """A plain float, or None for a row without a score (NaN)."""
    return None if value is None or not math.isfinite(value) else float(value)


def _decision(row: sqlite3.Row) -> Decision:
    return Decision(**{name: row[name] for name in _FIELDS})


def _last_active_step(connection: sqlite3.Connection, dataset: str, by: str) -> int | None:
    query = (
        f"{_UNDONE} SELECT seq FROM decisions WHERE dataset = :dataset AND decided_by = :by AND kind = 'decide' AND seq = step "
        "AND seq NOT IN undone ORDER BY seq DESC LIMIT 1"
    )
    row = connection.execute(query, {"dataset": dataset, "by": by}).fetchone()
    return None if row is None else int(row["seq"])


def _last_undone_step(connection: sqlite3.Connection, dataset: str, by: str) -> int | None:
    """The step of this person's newest `undo` that was not redone; a decision after it closes the way forward."""
    query = (
        "SELECT step FROM (SELECT step, kind, max(seq) AS toggled FROM decisions WHERE dataset = :dataset AND kind <> 'decide' "
        "AND decided_by = :by GROUP BY step) WHERE kind = 'undo' AND toggled > coalesce((SELECT max(seq) FROM decisions "
        "WHERE dataset = :dataset AND decided_by = :by AND kind = 'decide' AND seq = step), 0) ORDER BY toggled DESC LIMIT 1"
    )
    row = connection.execute(query, {"dataset": dataset, "by": by}).fetchone()
    return None if row is None else int(row["step"])


def _toggle(connection: sqlite3.Connection, dataset: str, by: str, step: int, kind: Kind) -> Decision:
    """Append, for each row of a step, the decision that holds once the step is undone or redone."""
    rows = [
        row["row_id"] for row in connection.execute("SELECT row_id FROM decisions WHERE step = ? AND kind = 'decide' ORDER BY seq", (step,))
    ]
    among = "AND row_id IN (SELECT row_id FROM decisions WHERE step = :step AND kind = 'decide')"
    if kind == "undo":
        query = _HOLDING.format(rows=f"AND step <> :step {among}")
    else:
        query = _HOLDING.replace("step NOT IN undone", "(step NOT IN undone OR step = :step)").format(rows=among)
    holding = {row["row_id"]: row for row in connection.execute(query, {"dataset": dataset, "step": step})}
    writer = _Writer(connection, dataset, by)
    for row_id in rows:
        held = holding.get(row_id)
        score, threshold = (held["score"], held["threshold"]) if held is not None else (None, None)
        action: Action = held["action"] if held is not None else "clear"
        writer.add(row_id, action, "", score=score, threshold=threshold, kind=kind, step=step)
    return writer.finish()[-1]
