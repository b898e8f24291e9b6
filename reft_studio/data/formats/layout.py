"""How the bytes of a file become records, as it was found when the file was looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Escape = Literal["", "quotes", "all"]
"""Whether a backslash escapes nothing, quotes only, or quotes and itself."""


@dataclass(frozen=True)
class FileLayout:
    """How the bytes of a file become records. Kept in the manifest, so that an export reads them the same way."""

    container: str
    """Name of the file format."""
    encoding: str = ""
    """Name of the Python codec without byte order mark; "" for bytes that are no text."""
    bom: int = 0
    """Length of the byte order mark."""
    delimiter: str = ""
    newline: str = "\n"
    separator_line: bool = False
    """Whether a line before the header names the separator."""
    escape: Escape = ""
    """Of a table: what a backslash escapes."""
    spaced: bool = False
    """Of a table: whether a space after each separator belongs to it, as in `"a", "b"`."""
    commas: bool = False
    """Whether the lines of JSON Lines end in a comma, which is left out when they are written again."""

    @property
    def label(self) -> str:
        """The encoding as people name it, e.g. "utf-8-sig" with a byte order mark."""
        return "utf-8-sig" if self.encoding == "utf-8" and self.bom else self.encoding

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
