"""Content addresses: the same content gives the same name, on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SHORT = 16
"""Characters of a SHA-256 that name a folder; 64 bits, ample for one workspace."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; lone surrogates are escaped, so any str can be hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def of_value(value: Any) -> str:
    """SHA-256 (hex) of a JSON value."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def of_rows(rows: Iterable[Any]) -> str:
    """SHA-256 (hex) over JSON rows, in order, without holding them."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(canonical_json(row).encode("ascii"))
        digest.update(b"\n")
    return digest.hexdigest()


def of_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
