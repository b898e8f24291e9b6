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


def allowed() -> str:
    """What may be brought, as a sentence."""
    return "Allowed are " + ", ".join(f"{one.label} ({', '.join(one.endings)})" for one in FORMATS.all().values()) + "."
