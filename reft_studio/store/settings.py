"""Small settings that outlive the app: the dataset in use, its threshold, the reviewer's name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from reft_studio.errors import StoreError
from reft_studio.store.connection import reading, transaction
from reft_studio.workspace import Workspace


def get(workspace: Workspace, key: str, default: Any = None) -> Any:
    """The JSON value stored under `key`, or `default`."""
    with reading(workspace) as connection:
        row = connection.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
    if row is None:
        return default
    try:
        return json.loads(row["value"])
    except ValueError as exc:
        raise StoreError(f"The setting '{key}' is damaged in the workspace database. Choose it again.") from exc


def set(workspace: Workspace, key: str, value: Any) -> None:
    """Store a JSON value under `key`; it is on disk when this returns."""
    text = json.dumps(value, allow_nan=False)
    with transaction(workspace) as connection:
        connection.execute(
            "INSERT INTO settings (key, value, at) VALUES (?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value, at = excluded.at",
            (key, text, datetime.now(UTC).isoformat(timespec="seconds")),
        )


def remove(workspace: Workspace, key: str) -> None:
    """Delete the value under `key`, if there is one."""
    with transaction(workspace) as connection:
        connection.execute("DELETE FROM settings WHERE key = ?", (key,))


def add(workspace: Workspace, key: str, amount: int) -> int:
    """Atomically add to the integer stored under `key` (0 at first); returns the sum. Two tabs lose no count."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with transaction(workspace) as connection:
        connection.execute(
            "INSERT INTO settings (key, value, at) VALUES (?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = CAST(settings.value AS INTEGER) + excluded.value, at = excluded.at",
            (key, str(amount), at),
        )
        return int(connection.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()["value"])
