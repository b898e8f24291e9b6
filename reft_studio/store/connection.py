"""Opens the workspace's SQLite database, migrates it, and translates its errors for people."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from reft_studio.errors import PrerequisiteError, StoreError, StudioError
from reft_studio.store.migrations import MIGRATIONS
from reft_studio.workspace import Workspace, disk_error

# Where the schema is damaged, SQLite's own message may hold bytes that are no text.
DAMAGE = (sqlite3.Error, UnicodeDecodeError)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
BUSY_S = 10.0
"""Maximum seconds a write waits for another process's write."""


def connect(workspace: Workspace, *, to_write: bool = True) -> sqlite3.Connection:
    """An open connection in autocommit mode, WAL, synchronous=FULL; the caller closes it.

    A read-only one opens on a full disk too. Opening takes about 0.1 ms while another connection is open, 1.5 ms when it is the only one
    (measured), so connections are not kept open.
    Raises StoreError if the file is damaged or was made by a newer version, PrerequisiteError if the disk refuses.
    """
    end = time.monotonic() + BUSY_S
    while True:
        try:
            return _open(workspace)
        except DAMAGE as exc:
            # SQLite's own waiting does not cover the switch to WAL, nor the moment when the last connection closes.
            if _code(exc) in _FULL and not to_write:
                return _open_on_a_full_disk(workspace)
            if _code(exc) not in _BUSY or time.monotonic() > end:
                raise explained(exc, workspace) from exc
            time.sleep(0.01)


def _open(workspace: Workspace) -> sqlite3.Connection:
    connection = sqlite3.connect(workspace.database, timeout=BUSY_S, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        # FULL: an acknowledged decision survives power loss (NORMAL loses the last ones in WAL mode).
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        _migrate(connection, workspace)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_on_a_full_disk(workspace: Workspace) -> sqlite3.Connection:
    """A connection that creates no file, and locks others out while it is open.

    In exclusive mode SQLite keeps the index of the write-ahead log in memory ("WAL without shared memory"), for which it otherwise
    needs 32 KB on disk.
    """
    connection = sqlite3.connect(workspace.database, timeout=BUSY_S, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    if _version(connection) != len(MIGRATIONS):  # bringing it up to date needs room
        connection.close()
        raise disk_error(workspace.database, OSError(errno.ENOSPC, "the disk is full"))
    return connection


@contextmanager
def reading(workspace: Workspace) -> Iterator[sqlite3.Connection]:
    """A connection with one snapshot of the database, closed at the end."""
    connection = connect(workspace, to_write=False)
    try:
        connection.execute("BEGIN")
        yield connection
    except DAMAGE as exc:
        raise explained(exc, workspace) from exc
    finally:
        connection.close()


@contextmanager
def transaction(workspace: Workspace) -> Iterator[sqlite3.Connection]:
    """All changes inside are on disk when this returns, or none is. Raises StoreError in an app with read-only access to this workspace."""
    workspace.require_writable()
    connection = connect(workspace)
    try:
        # IMMEDIATE takes the write lock now: a read that later wants to write cannot be refused half-way.
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    except DAMAGE as exc:
        raise explained(exc, workspace) from exc
    finally:
        connection.close()  # rolls back what was not committed


def explained(error: sqlite3.Error | UnicodeDecodeError, workspace: Workspace) -> StudioError:
    """The error as one for people."""
    code = _code(error)
    if code in _FULL:
        return disk_error(workspace.database, OSError(errno.ENOSPC, "the disk is full"))
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return PrerequisiteError(
            "The workspace database cannot be opened for writing. Check the rights of the workspace folder, or choose another one."
        )
    if code in _BUSY:
        return StoreError(
            f"The workspace database was busy for {BUSY_S:.0f} s. Nothing was changed. Try again, or close other copies of the app."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or isinstance(error, UnicodeDecodeError):
        return StoreError(
            "The workspace database studio.sqlite is damaged. Restore it from a backup, or move it away to begin with an empty one: "
            "datasets, scores and runs lie in their own folders and are not lost."
        )
    return StoreError(f"The workspace database refused ({error}). Nothing was changed.")


def _code(error: Exception) -> int:
    """SQLite's primary result code, 0 if the error has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _migrate(connection: sqlite3.Connection, workspace: Workspace) -> None:
    """Migrate the schema in one transaction, after a copy of the file if it has content."""
    version = _version(connection)
    if version == len(MIGRATIONS):
        return
    if version > len(MIGRATIONS):
        raise StoreError(
            f"This workspace was last used by a newer ReFT Studio (database version {version}, this app knows {len(MIGRATIONS)}). "
            "Update the app, or choose another workspace."
        )
    if version:
        _copy(connection, workspace, version)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(_version(connection), len(MIGRATIONS)):  # read again: another process may have been faster
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _copy(connection: sqlite3.Connection, workspace: Workspace, version: int) -> None:
    target = sqlite3.connect(workspace.database.with_name(f"studio.sqlite.version-{version}"))
    try:
        connection.backup(target)
    finally:
        target.close()
