"""The bytes of a file become records: one file for each format. A new format is one file and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reft_studio.registry import Registry

if TYPE_CHECKING:
    from reft_studio.data.formats.format import Format

FORMATS: Registry[Format] = Registry(
    "file format",
    {
        "jsonl": "reft_studio.data.formats.json_lines:FORMAT",
        "json": "reft_studio.data.formats.json_document:FORMAT",
        "csv": "reft_studio.data.formats.table:FORMAT",
        "parquet": "reft_studio.data.formats.parquet:FORMAT",
        "arrow": "reft_studio.data.formats.arrow:FORMAT",
    },
)
"""In the order in which people are told of them."""


def endings(*, loose: bool = False) -> tuple[str, ...]:
    """What names of files with rows end in; with `loose` also what may be anything."""
    return tuple(ending for one in FORMATS.all().values() for ending in (*one.endings, *(one.loose_endings if loose else ())))


def by_ending(name: str) -> Format | None:
    """The format that the ending of a name says, whatever the file holds."""
    found = (one for one in FORMATS.all().values() if name.lower().endswith(one.endings))
    return next(found, None)


def label_of(name: str) -> str:
    """What a format is called; the name itself where it is no longer known."""
    return FORMATS.get(name).label if name in FORMATS else name


def allowed() -> str:
    """What may be brought, as a sentence."""
    return f"Allowed are {'; '.join(f'{one.label} ({_listed(one)})' for one in FORMATS.all().values())}."


def _listed(one: Format) -> str:
    return ", ".join(one.endings)
