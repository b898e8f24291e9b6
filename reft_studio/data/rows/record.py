"""A row of an upload as it came, whatever the kind of the file."""

from __future__ import annotations

from typing import Any, NamedTuple


class RawRecord(NamedTuple):
    """One row of the upload before it is understood."""

    row_id: int
    """The row id: for JSONL the line, else the record, both counted from 0. Rows that fail keep their number."""
    line: int
    """What a person looks for: the line of the file (JSONL, CSV) or the row (JSON, Parquet), counted from 1."""
    value: Any
    """What the row says; None if it could not be read."""
    raw: bytes
    """The row as it stands in the file; b"" for Parquet and JSON columns."""
    size: int
    """Bytes of the row, about."""
    error: str = ""
    hint: str = ""
    warnings: tuple[str, ...] = ()
