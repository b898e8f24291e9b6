"""Turns that somebody's program printed into a cell: Python's or NumPy's own notation, read as data and never run."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

MAX_TEXT = 256 << 10
"""Characters of a cell that are read; parsing takes many times their size in memory."""
NOT_READ = "turns in Python's own notation that cannot be read"
NOT_READ_HINT = 'Write the turns with json.dumps before the table is saved, e.g. [{"role": "user", "content": "..."}].'
READ = "turns in Python's own notation, read as they are"
_STRING = r"""'(?:[^'\\]|\\.)*+(?:'|\\?\Z)|"(?:[^"\\]|\\.)*+(?:"|\\?\Z)"""
"""A string, or what begins like one and never ends: tried once, so that a cell of nothing but quotes takes no time."""
_TOKEN = re.compile(rf"({_STRING})|(\barray\(|,\s*+dtype=\w++\s*+\))|(?<=[}}\]])(\s++)(?=[{{\[])|\b(nan)\b", re.DOTALL)
_BEGINS = re.compile(r"\s*(?:array\(\s*)?\[\s*\{\s*['\"]\w+['\"]\s*:")


def looks_like_turns(cell: Any) -> bool:
    """Whether a cell holds a printed list of objects."""
    return isinstance(cell, str) and _BEGINS.match(cell[:200]) is not None


def turns_from(cell: str) -> list[Any] | None:
    """The list that a printed cell shows; None if it is too long, was cut (`...`) or is no list of plain values.

    NumPy prints no comma between elements, and `array(...)` around them; both are mended outside of strings only.
    """
    if len(cell) > MAX_TEXT:
        return None
    text = _TOKEN.sub(_mended, cell).strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an escape that Python does not know is kept as it is
            found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    return found if isinstance(found, list) and all(isinstance(turn, dict) for turn in found) else None


def _mended(found: re.Match[str]) -> str:
    string, array, gap, _ = found.groups()
    return string if string is not None else "" if array is not None else "," if gap is not None else "None"
