"""Rows of our own as a file of the user's, in the format that its ending names."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from reft_studio.data.formats import FORMATS, by_ending
from reft_studio.data.writing.files import replacing
from reft_studio.errors import SpecError


def check_ending(out: Path, *, texts: bool) -> None:
    """Raise SpecError, with the endings there are, unless rows are written to such a file; `texts`: rows that hold texts of others."""
    found = [one for one in FORMATS.all().values() if one.writes and not (texts and one.spreadsheet)]
    if by_ending(out.name) not in found:
        raise SpecError(f"{out.name} has an ending that is not written here. Use {' or '.join(one.endings[0] for one in found)}.")


def write_rows(rows: pa.Table, out: Path, *, texts: bool) -> None:
    """Write the file whole or not at all. Raises SpecError as `check_ending` does."""
    check_ending(out, texts=texts)
    found = by_ending(out.name)
    assert found is not None
    with replacing(out) as file:
        found.write(rows, file)
