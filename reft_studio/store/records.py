"""Audit records besides decisions: draws, overrides, review rules. Append-only and hash-chained, like the decisions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from reft_studio.audit.decision import GENESIS, ChainReport
from reft_studio.audit.record import AuditRecord, RecordChain, RecordKind, record_hash
from reft_studio.errors import SpecError
from reft_studio.fingerprint import canonical_json
from reft_studio.store.connection import reading, transaction
from reft_studio.workspace import Workspace

_FIELDS = tuple(AuditRecord.__dataclass_fields__)
_COLUMNS = ", ".join("recorded_by" if name == "by" else name for name in _FIELDS)


def append(
    workspace: Workspace, dataset: str, kind: RecordKind, by: str, body: Callable[[list[AuditRecord], tuple[int, str]], dict[str, Any]]
) -> AuditRecord:
    """Append one record; it is on disk when this returns.

    `body` gets the records of the same kind so far and the newest decision (seq and hash) and returns the content; it runs under the write
    lock, so that two people who draw at once do not draw the same rows.
    """
    if not by.strip():
        raise SpecError("A record needs a name. Give the reviewer's name in Settings.")
    with transaction(workspace) as connection:
        content = body(_of_kind(connection, dataset, kind), _decisions(connection, dataset))
        head = connection.execute("SELECT hash FROM record_heads WHERE dataset = ?", (dataset,)).fetchone()
        newest = "SELECT max(coalesce((SELECT max(seq) FROM records), 0), coalesce((SELECT max(seq) FROM record_heads), 0)) + 1"
        values: dict[str, Any] = {
            "seq": int(connection.execute(newest).fetchone()[0]),
            "dataset": dataset,
            "kind": kind,
            "body": canonical_json(content),
            "by": by,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "previous": head["hash"] if head else GENESIS,
        }
        record = AuditRecord(**values, hash=record_hash(values))
        marks = ", ".join("?" * len(_FIELDS))
        connection.execute(f"INSERT INTO records ({_COLUMNS}) VALUES ({marks})", [getattr(record, name) for name in _FIELDS])
        connection.execute(
            "INSERT INTO record_heads (dataset, seq, entries, hash) VALUES (?, ?, 1, ?) "
            "ON CONFLICT (dataset) DO UPDATE SET seq = excluded.seq, entries = entries + 1, hash = excluded.hash",
            (dataset, record.seq, record.hash),
        )
        return record


def of_kind(workspace: Workspace, dataset: str, kind: RecordKind) -> list[AuditRecord]:
    """Records of one kind about a dataset, oldest first."""
    with reading(workspace) as connection:
        return _of_kind(connection, dataset, kind)


def entries(workspace: Workspace, dataset: str | None = None) -> Iterator[AuditRecord]:
    """Every record, or every one about a dataset, oldest first."""
    where = "" if dataset is None else "WHERE dataset = :dataset "
    with reading(workspace) as connection:
        yield from map(_record, connection.execute(f"SELECT {_COLUMNS} FROM records {where}ORDER BY seq", {"dataset": dataset}))


def head(workspace: Workspace, dataset: str) -> str | None:
    """Hash of the newest record about a dataset, None before the first."""
    with reading(workspace) as connection:
        row = connection.execute("SELECT hash FROM record_heads WHERE dataset = ?", (dataset,)).fetchone()
    return None if row is None else str(row["hash"])


def verify(connection: sqlite3.Connection, missing: set[str]) -> ChainReport:
    """Verify every record: hash, link, no gap, nothing truncated at the end. Hashes that exist are removed from `missing`."""
    chain, expected = RecordChain(), 1
    for record in map(_record, connection.execute(f"SELECT {_COLUMNS} FROM records ORDER BY seq")):
        problem = f"is missing; the next one is {record.seq}" if record.seq != expected else chain.add(record)
        if problem:
            return ChainReport(False, expected, expected, f"Record {expected} {problem}.", chain.heads)
        missing.discard(record.hash)
        expected += 1
    heads = {row["dataset"]: (row["seq"], row["entries"], row["hash"]) for row in connection.execute("SELECT * FROM record_heads")}
    if heads != chain.ends:
        return ChainReport(False, expected - 1, expected, "The newest records of draws are missing from the end of the log.", chain.heads)
    return ChainReport(True, expected - 1, None, "", chain.heads)


def _of_kind(connection: sqlite3.Connection, dataset: str, kind: RecordKind) -> list[AuditRecord]:
    query = f"SELECT {_COLUMNS} FROM records WHERE dataset = ? AND kind = ? ORDER BY seq"
    return [_record(row) for row in connection.execute(query, (dataset, kind))]


def _decisions(connection: sqlite3.Connection, dataset: str) -> tuple[int, str]:
    row = connection.execute("SELECT seq, hash FROM chain_heads WHERE dataset = ?", (dataset,)).fetchone()
    return (0, GENESIS) if row is None else (int(row["seq"]), str(row["hash"]))


def _record(row: sqlite3.Row) -> AuditRecord:
    return AuditRecord(*row)
