"""What is to be said of a file as a whole: notations that are read but are not of its kind, and what a cleaned file will be."""

from __future__ import annotations

from pathlib import Path

from reft_studio.data.formats.detect import FileLayout
from reft_studio.data.formats.json_stream import lists_beside, outline
from reft_studio.data.rows.quarantine import Problem

LOOKED_THROUGH = 64 << 20
"""Bytes of a JSON document that is looked through for lists beside its rows."""


def notes_on(path: Path, layout: FileLayout) -> list[Problem]:
    """Warnings about the whole file; `line` is 0."""
    found: list[tuple[str, str]] = []
    if layout.commas:
        found.append(("a comma after each line, which JSON Lines does not have", "It is left out when the cleaned file is written."))
    if layout.escape:
        found.append(('quotes escaped with a backslash (\\")', "They are read as quotes; the cleaned file is written in the same way."))
    if layout.container == "json":
        found += _of_document(path, layout)
    return [Problem(0, "warning", reason, hint) for reason, hint in found]


def _of_document(path: Path, layout: FileLayout) -> list[tuple[str, str]]:
    where = outline(path, layout.encoding, layout.bom)
    if where.kind == "objects":
        return [("objects one after another, which are no JSON document together", "The cleaned file has one object on each line.")]
    if where.kind == "wrapped" and path.stat().st_size <= LOOKED_THROUGH:
        others = lists_beside(path, layout.encoding, layout.bom, where.key)
        if others:
            named = ", ".join(f"'{name[:40]}'" for name in others[:5])
            hint = f"Only the rows under '{where.key}' are read. To read those under {named}, save them as a file of their own."
            return [("other lists beside the rows are not read", hint)]
    return []


def cleaned_kind(path: Path, layout: FileLayout) -> str:
    """What the cleaned file of an upload is, for people."""
    if layout.container == "jsonl":
        return "JSON Lines, without the commas after the lines" if layout.commas else "JSON Lines"
    if layout.container == "csv":
        separator = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}.get(layout.delimiter, f"'{layout.delimiter}'")
        return f"a table separated by {separator}" + (", quotes escaped with a backslash" if layout.escape else "")
    if layout.container == "json":
        kinds = {
            "array": "a JSON array",
            "wrapped": "a JSON object with its rows as in the upload",
            "columns": "a JSON object of columns",
            "objects": "JSON Lines",
        }
        return kinds[outline(path, layout.encoding, layout.bom).kind]
    return {"parquet": "Parquet with the schema of the upload", "arrow": "Arrow with the schema of the upload"}[layout.container]
