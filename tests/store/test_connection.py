from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from reft_studio.errors import PrerequisiteError, StoreError
from reft_studio.store import connection as module
from reft_studio.store import settings
from reft_studio.store.connection import connect, explained, reading, transaction
from reft_studio.store.migrations import MIGRATIONS
from reft_studio.workspace import Workspace, mount_point


def test_a_new_workspace_gets_wal_full_durability_and_the_newest_schema(workspace: Workspace) -> None:
    connection = connect(workspace)
    facts = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "user_version")]
    connection.close()
    assert facts == ["wal", 2, len(MIGRATIONS)]


def test_a_transaction_that_fails_leaves_nothing(workspace: Workspace) -> None:
    with pytest.raises(KeyError), transaction(workspace) as connection:
        connection.execute("INSERT INTO settings (key, value, at) VALUES ('a', '1', '')")
        raise KeyError
    assert settings.get(workspace, "a") is None


def test_a_reader_sees_one_state_while_another_writes(workspace: Workspace) -> None:
    settings.set(workspace, "a", 1)
    with reading(workspace) as connection:
        before = connection.execute("SELECT value FROM settings").fetchone()[0]
        settings.set(workspace, "a", 2)
        assert connection.execute("SELECT value FROM settings").fetchone()[0] == before
    assert settings.get(workspace, "a") == 2


def test_many_threads_may_open_a_new_workspace_at_once(workspace: Workspace) -> None:
    errors: list[Exception] = []

    def write(number: int) -> None:
        try:
            settings.set(workspace, str(number), number)
        except Exception as exc:
            errors.append(exc)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and [settings.get(workspace, str(number)) for number in range(12)] == [*range(12)]


def test_a_file_that_is_no_database_is_named_and_told_what_to_do(workspace: Workspace) -> None:
    workspace.database.write_bytes(b"not a database at all, " * 100)
    with pytest.raises(StoreError, match=r"studio\.sqlite is damaged\. Restore it from a backup"):
        connect(workspace)


def test_a_workspace_of_a_newer_app_is_refused_untouched(workspace: Workspace) -> None:
    settings.set(workspace, "a", 1)
    raw = sqlite3.connect(workspace.database)
    raw.execute("PRAGMA user_version=99")
    raw.close()
    before = workspace.database.read_bytes()
    with pytest.raises(StoreError, match="newer ReFT Studio"):
        settings.get(workspace, "a")
    assert workspace.database.read_bytes() == before


def test_an_older_workspace_is_copied_then_brought_up_to_date(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.set(workspace, "a", 1)
    monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE extra (x)",)))
    assert settings.get(workspace, "a") == 1
    with reading(workspace) as connection:
        assert connection.execute("SELECT count(*) FROM extra").fetchone()[0] == 0
    copy = sqlite3.connect(workspace.database.with_name(f"studio.sqlite.version-{len(MIGRATIONS)}"))
    assert copy.execute("SELECT value FROM settings").fetchone()[0] == "1"
    copy.close()


def test_an_update_that_fails_half_way_changes_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.set(workspace, "a", 1)
    with monkeypatch.context() as patch:
        patch.setattr(module, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE extra (x)", "CREATE TABLE extra (x)")))
        with pytest.raises(StoreError, match="refused"):
            settings.get(workspace, "a")
    assert settings.get(workspace, "a") == 1
    with reading(workspace) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'extra'").fetchone()[0] == 0


def test_a_full_database_says_so_and_stays_usable(workspace: Workspace) -> None:
    settings.set(workspace, "a", 1)
    with pytest.raises(PrerequisiteError, match=r"the disk is full; .* Nothing was changed"), transaction(workspace) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")
        for number in range(1000):
            connection.execute("INSERT INTO settings (key, value, at) VALUES (?, ?, '')", (f"k{number}", "x" * 1000))
    settings.set(workspace, "b", 2)
    assert (settings.get(workspace, "a"), settings.get(workspace, "b"), settings.get(workspace, "k0")) == (1, 2, None)


def test_a_busy_database_is_told_as_such(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_S", 0.01)
    with transaction(workspace), pytest.raises(StoreError, match=r"was busy .* Nothing was changed"):
        settings.set(workspace, "a", 1)


def test_a_folder_that_cannot_be_written_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="cannot be opened for writing"):
        connect(Workspace(tmp_path / "missing"))


def test_a_full_disk_refuses_writes_by_its_name_and_no_reads(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.set(workspace, "a", 1)

    def full(_workspace: Workspace) -> sqlite3.Connection:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(module, "_open", full)  # as SQLite answers where it cannot make its 32 KB beside the database
    assert settings.get(workspace, "a") == 1
    with pytest.raises(PrerequisiteError, match=f"MB free on the disk at {mount_point(workspace.root)}"):
        settings.set(workspace, "a", 2)
    assert sorted(path.name for path in workspace.root.iterdir()) == ["studio.sqlite"]


def test_any_other_error_keeps_its_words(workspace: Workspace) -> None:
    assert "odd" in str(explained(sqlite3.Error("odd"), workspace))
