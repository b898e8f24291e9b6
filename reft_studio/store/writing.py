"""Appends entries to the log of decisions: each linked to the previous one, a step atomically."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import numpy as np

from reft_studio.audit.decision import GENESIS, Action, Decision, Kind

COLUMNS = tuple(Decision.__dataclass_fields__)
Entry = tuple[int, Action, str, float | None, float | None, bool | None]
"""Row id, action, reason, score, threshold, seen."""
_INSERT = f"INSERT INTO decisions ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_ACTIONS: tuple[Action, ...] = ("clear", "keep", "remove", "relabel", "unsure")
_TOGGLED = (
    "(SELECT toggle.kind FROM decisions AS toggle WHERE toggle.dataset = :dataset AND toggle.step = {step} "
    "AND toggle.kind <> 'decide' ORDER BY toggle.seq DESC LIMIT 1)"
)
_HELD = np.dtype([("row_id", np.int64), ("action", np.uint8), ("score", np.float64), ("threshold", np.float64), ("seen", np.uint8)])
_SEEN = (False, True, None)


def append(
    connection: sqlite3.Connection, dataset: str, by: str, entries: Iterable[Entry], *, kind: Kind = "decide", step: int | None = None
) -> tuple[int, int]:
    """Append entries inside a transaction, as a new step unless `step` is given; first and last seq. There must be at least one."""
    head = connection.execute("SELECT hash FROM chain_heads WHERE dataset = ?", (dataset,)).fetchone()
    newest = "SELECT max(coalesce((SELECT max(seq) FROM decisions), 0), coalesce((SELECT max(seq) FROM chain_heads), 0))"
    before = int(connection.execute(newest).fetchone()[0])
    chain = _Linked(dataset, by, kind, seq=before, step=before + 1 if step is None else step, previous=head["hash"] if head else GENESIS)
    connection.executemany(_INSERT, chain.rows(entries))
    connection.execute(
        "INSERT INTO chain_heads (dataset, seq, entries, hash) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (dataset) DO UPDATE SET seq = excluded.seq, entries = entries + excluded.entries, hash = excluded.hash",
        (dataset, chain.seq, chain.seq - before, chain.previous),
    )
    return before + 1, chain.seq


class _Linked:
    """Generates rows of the table: a bulk decision is never in memory as a whole."""

    def __init__(self, dataset: str, by: str, kind: Kind, *, seq: int, step: int, previous: str) -> None:
        self.dataset, self.by, self.kind, self.seq, self.step, self.previous = dataset, by, kind, seq, step, previous
        self.at = datetime.now(UTC).isoformat(timespec="milliseconds")

    def rows(self, entries: Iterable[Entry]) -> Iterator[tuple[object, ...]]:
        """Rows in the order of `COLUMNS`. The hash is that of `entry_hash`, inlined: it is half of the cost of a bulk decision."""
        dataset, by, at, kind = self.dataset, self.by, self.at, self.kind
        name, signed = f",{json.dumps(dataset)},", f",{json.dumps(by)},{json.dumps(at)},"
        end = f'","{kind}",{self.step}'
        ends = {None: f"{end}]", False: f"{end},false]", True: f"{end},true]"}
        suffixes: dict[tuple[str, str], str] = {}
        for row_id, action, reason, score, threshold, seen in entries:
            suffix = suffixes.get((action, reason)) or suffixes.setdefault((action, reason), f',"{action}",{json.dumps(reason)}{signed}')
            self.seq += 1
            text = f'[{self.seq}{name}{row_id}{suffix}{_number(score)},{_number(threshold)},"{self.previous}{ends[seen]}'
            previous, self.previous = self.previous, hashlib.sha256(text.encode("ascii")).hexdigest()
            yield self.seq, dataset, row_id, action, reason, by, at, score, threshold, previous, self.previous, kind, self.step, seen


def _number(value: float | None) -> str:
    return "null" if value is None else float.__repr__(value)


def last_active_step(connection: sqlite3.Connection, dataset: str, by: str) -> int | None:
    """The newest step of this person that is not undone."""
    query = (
        "SELECT seq FROM decisions AS entry WHERE dataset = :dataset AND decided_by = :by AND kind = 'decide' AND seq = step "
        f"AND coalesce({_TOGGLED.format(step='entry.seq')}, 'redo') <> 'undo' ORDER BY seq DESC LIMIT 1"
    )
    row = connection.execute(query, {"dataset": dataset, "by": by}).fetchone()
    return None if row is None else int(row["seq"])


def last_undone_step(connection: sqlite3.Connection, dataset: str, by: str) -> int | None:
    """The step of this person's newest `undo` that was not redone; a later decision makes redo impossible."""
    decided = "SELECT max(seq) AS seq FROM decisions WHERE dataset = ? AND decided_by = ? AND kind = 'decide' AND seq = step"
    since = connection.execute(decided, (dataset, by)).fetchone()["seq"] or 0
    # One person's toggles come newest first; the first step met that ended in "undo" is it.
    toggles = (
        "SELECT step, kind FROM decisions WHERE dataset = ? AND decided_by = ? AND kind <> 'decide' AND seq > ? "
        "GROUP BY step, kind ORDER BY max(seq) DESC"
    )
    seen: set[int] = set()
    for row in connection.execute(toggles, (dataset, by, since)):
        if row["step"] not in seen and row["kind"] == "undo":
            return int(row["step"])
        seen.add(row["step"])
    return None


def toggle(connection: sqlite3.Connection, dataset: str, by: str, step: int, kind: Kind) -> int:
    """Append, for each row of a step, the decision that is current once the step is undone or redone; the last seq."""
    undone = f"coalesce({_TOGGLED.format(step='other.step')}, 'redo') = 'undo'"
    left_out = f"(other.step = :step OR {undone})" if kind == "undo" else f"(other.step <> :step AND {undone})"
    holding = (
        "(SELECT other.seq FROM decisions AS other WHERE other.dataset = :dataset AND other.row_id = entry.row_id "
        f"AND other.kind = 'decide' AND NOT {left_out} ORDER BY other.seq DESC LIMIT 1)"
    )
    code = "CASE held.action " + " ".join(f"WHEN '{action}' THEN {code}" for code, action in enumerate(_ACTIONS)) + " ELSE 0 END"
    query = (
        f"SELECT entry.row_id, {code}, coalesce(held.score, 9e999), coalesce(held.threshold, 9e999), "
        "CASE WHEN held.seq IS NULL THEN 0 ELSE coalesce(held.seen, 2) END FROM decisions AS entry "
        f"LEFT JOIN decisions AS held ON held.seq = {holding} WHERE entry.step = :step AND entry.kind = 'decide' ORDER BY entry.seq"
    )
    cursor = connection.cursor()
    cursor.row_factory = None
    current = np.fromiter(cursor.execute(query, {"dataset": dataset, "step": step}), dtype=_HELD)  # before the first is written
    entries = (
        (row_id, _ACTIONS[action], "", None if score == np.inf else score, None if threshold == np.inf else threshold, _SEEN[seen])
        for row_id, action, score, threshold, seen in zip(*(current[name].tolist() for name in _HELD.names or ()), strict=True)
    )
    return append(connection, dataset, by, entries, kind=kind, step=step)[1]
