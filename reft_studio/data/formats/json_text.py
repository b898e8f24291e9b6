"""JSON as text: read with notes on what the standard forbids, the quick way to plain rows, and written again."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import orjson

from reft_studio.data.rows.fast_rows import FastRows
from reft_studio.data.rows.interpret import LONG_TEXT
from reft_studio.data.rows.row_columns import RowColumns

_FAULT = re.compile(r": .*|:$| (starting )?at$")
_SPACED = re.compile(rb'"[ \t\r\n]+:')
_ESCAPED_CONTROL = re.compile(rb"\\(?:u00[017]|b)")


class JsonText:
    """Reads JSON with notes on what the standard forbids but many files hold. One object serves many texts."""

    def __init__(self, *, commas: bool = False) -> None:
        self.commas = commas
        """Whether lines may end in a comma."""
        self._notes: set[str] = set()
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=self._constant)

    def read(self, text: str) -> tuple[Any, str, str, tuple[str, ...]]:
        """The value, the error with a hint (or ""), and warnings."""
        self._notes.clear()
        try:
            return self._decoder.decode(text), "", "", tuple(sorted(self._notes))
        except json.JSONDecodeError as exc:
            return None, f"not valid JSON: {_FAULT.sub('', exc.msg).lower()}", _json_hint(text, exc), ()
        except RecursionError:
            return None, "JSON nested too deeply", "Keep nesting below some hundred levels.", ()
        except ValueError:  # an integer beyond Python's limit of 4300 digits
            return None, "JSON holds a number with thousands of digits", "Write the number as text.", ()

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            self._notes.add("a key appears twice in an object: the last one counts")
        return found

    def _constant(self, _name: str) -> None:
        self._notes.add("NaN or Infinity, which JSON does not have, read as empty")


def _json_hint(text: str, exc: json.JSONDecodeError) -> str:
    start = text.lstrip()
    if start.startswith("{'"):
        return "This looks like Python's own notation. Write the row with json.dumps."
    if start.startswith(("//", "#", "<<<<", ">>>>", "====", "<")):
        return "Remove lines that are no rows: comments, merge marks, error pages."
    if exc.msg.startswith("Extra data"):
        return "Put one object on each line and nothing after it."
    if exc.pos >= len(text.rstrip()):
        return "The row ends too early: it is cut off, or spread over several lines. Put each row on one line."
    if "control character" in exc.msg:
        return "Write line breaks and other control characters as \\n or \\u0000 inside strings."
    return f"Look at column {exc.colno} of the row: {exc.msg.lower()}."


def json_bytes(value: Any, encoding: str) -> bytes:
    """A value as JSON in an encoding; escaped throughout where the encoding lacks a sign."""
    try:
        return json.dumps(value, ensure_ascii=False).encode(encoding)
    except UnicodeEncodeError:  # a lone surrogate, or a sign the old encoding does not have
        return json.dumps(value).encode(encoding)


def add_quickly(text: bytes, row_id: int, fast: FastRows, columns: RowColumns, *, controls: bool) -> bool:
    """Append the row of one JSON text, if it is plain and surely no key appears twice in an object."""
    if len(text) > LONG_TEXT or _SPACED.search(text):
        return False
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return type(value) is dict and fast.add(value, row_id, columns, controls=controls, keys=keys_in(text))


def keys_in(text: bytes) -> int:
    """Keys in a valid JSON text, if no space stands before a colon and no key ends in a backslash: a quote inside a string is escaped."""
    return text.count(b'":') - text.count(b'\\":')


def keys_of_all(block: bytes) -> int | None:
    """The same for megabytes; None if a space stands before a colon somewhere."""
    signs = np.frombuffer(block, np.uint8)
    colons = np.flatnonzero(signs == ord(":"))
    colons = colons[colons >= 2]
    before = signs[colons - 1]
    if np.isin(before, np.frombuffer(b" \t\r\n", np.uint8)).any():
        return None
    return int(((before == ord('"')) & (signs[colons - 2] != ord("\\"))).sum())


def has_controls(text: bytes) -> bool:
    """Whether JSON text may hold control characters, which it must write as escapes (all but DEL)."""
    return b"\x7f" in text or _ESCAPED_CONTROL.search(text) is not None


def beyond_unicode(text: str) -> bool:
    """Whether there is half a surrogate pair: a byte that was no text."""
    return not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text)
