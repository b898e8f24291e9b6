"""People's notes on a run: a name, tags, a note. Stored outside of the run's immutable folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reft_studio.errors import SpecError
from reft_studio.store.connection import reading, transaction
from reft_studio.workspace import Workspace

LONGEST_NAME, LONGEST_NOTE, LONGEST_TAG, MOST_TAGS = 80, 2000, 30, 12


@dataclass(frozen=True)
class RunNote:
    """`name` is empty if the generated one is used; `edited_by` is empty for a person who gave no name."""

    name: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    edited_by: str = ""
    at: str = ""


NOTHING = RunNote()


def every(workspace: Workspace) -> dict[str, RunNote]:
    """The note on each run, by its id."""
    with reading(workspace) as connection:
        rows = connection.execute("SELECT run, name, tags, note, edited_by, at FROM run_notes").fetchall()
    return {row["run"]: RunNote(row["name"], tuple(json.loads(row["tags"])), row["note"], row["edited_by"], row["at"]) for row in rows}


def write(
    workspace: Workspace, run: str, *, by: str = "", name: str | None = None, tags: Sequence[str] | None = None, note: str | None = None
) -> RunNote:
    """Change the given fields and leave the others; the last edit wins. An empty name restores the generated one.

    Raises SpecError for text that is too long, or a name that another run has.
    """
    given: dict[str, Any] = {"name": name and _line(name, "The name", LONGEST_NAME), "note": _note(note)}
    if tags is not None:
        given["tags"] = json.dumps(_tags(tags), ensure_ascii=False)
    changes = {key: value for key, value in given.items() if value is not None}
    with transaction(workspace) as connection:
        if given["name"] and connection.execute("SELECT 1 FROM run_notes WHERE name = ? AND run <> ?", (given["name"], run)).fetchone():
            raise SpecError(f"Another run is called '{given['name']}'. Choose a name that no other run has.")
        connection.execute("INSERT INTO run_notes (run) VALUES (?) ON CONFLICT (run) DO NOTHING", (run,))
        changes |= {"edited_by": by, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        assigned = ", ".join(f"{column} = :{column}" for column in changes)
        connection.execute(f"UPDATE run_notes SET {assigned} WHERE run = :run", {**changes, "run": run})
    return every(workspace)[run]


def carry(workspace: Workspace, old: str, new: str) -> None:
    """Copy the note on a run to the one that it became; fields of that one that are set already stay."""
    with transaction(workspace) as connection:
        rows = {row["run"]: row for row in connection.execute("SELECT * FROM run_notes WHERE run IN (?, ?)", (old, new))}
        if old not in rows:
            return
        if new in rows:
            first, then = rows[new], rows[old]
            merged = (
                first["name"] or then["name"],
                first["tags"] if first["tags"] != "[]" else then["tags"],
                first["note"] or then["note"],
            )
            connection.execute("DELETE FROM run_notes WHERE run = ?", (old,))
            connection.execute("UPDATE run_notes SET name = ?, tags = ?, note = ? WHERE run = ?", (*merged, new))
        else:
            connection.execute("UPDATE run_notes SET run = ? WHERE run = ?", (new, old))


@dataclass(frozen=True)
class AskedFor:
    """Settings (RunSpec as JSON) of the runs of jobs, in the order in which they were queued.

    `going`: queued, running or paused. `ended`: started, and ended before they were finished.
    """

    going: list[dict[str, Any]]
    ended: list[dict[str, Any]]


def asked_for(workspace: Workspace) -> AskedFor:
    """The runs of all jobs that are not done."""
    query = "SELECT params, state FROM jobs WHERE kind = 'run' AND state <> 'done' AND (attempt > 0 OR state IN {live}) ORDER BY created"
    live = "('queued', 'running', 'paused')"
    with reading(workspace) as connection:
        rows = connection.execute(query.format(live=live)).fetchall()
    runs = AskedFor([], [])
    for row in rows:
        if isinstance(spec := json.loads(row["params"]).get("spec"), dict):
            (runs.going if row["state"] in live else runs.ended).append(spec)
    return runs


def _line(text: str, what: str, longest: int) -> str:
    line = " ".join(text.split())
    if len(line) > longest:
        raise SpecError(f"{what} has {len(line)} characters. Use at most {longest}.")
    return line


def _note(text: str | None) -> str | None:
    if text is None:
        return None
    if len(text.strip()) > LONGEST_NOTE:
        raise SpecError(f"The note has {len(text.strip()):,} characters. Use at most {LONGEST_NOTE:,}.")
    return text.strip()


def _tags(tags: Sequence[str]) -> list[str]:
    """Deduplicated in the given order, ignoring case."""
    unique: dict[str, str] = {}
    for tag in tags:
        if line := _line(tag.replace(",", " "), "A tag", LONGEST_TAG):
            unique.setdefault(line.casefold(), line)
    if len(unique) > MOST_TAGS:
        raise SpecError(f"There are {len(unique)} tags. Use at most {MOST_TAGS}.")
    return list(unique.values())
