"""The rows of a JSON document, one at a time: arrays, wrapped arrays, objects one after another. Memory holds one row."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from reft_studio.data.formats.lines import BLOCK, MAX_ROW_BYTES
from reft_studio.errors import DataError

_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]|"', re.DOTALL)
_SPACE = re.compile(r"[ \t\r\n\ufeff\0]*+")
_SCALAR = re.compile(r"[^\s,\]}{\[\":]++")
_TOO_LONG = f"the row is longer than {MAX_ROW_BYTES >> 20} MiB"
_REST_OF_STRING = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
WRAPPERS = (
    *("data", "rows", "items", "examples", "instances", "records", "samples", "dataset", "train", "training"),
    *("entries", "questions", "validation", "valid", "dev", "test"),
)
"""Keys of the list of rows in an object, in any case; the first one that holds a list."""

Kind = Literal["array", "wrapped", "columns", "objects"]


class Element(NamedTuple):
    """One value as it stands in the file."""

    text: str
    damage: str
    """Why it is not a whole value, or ""."""
    start: int
    """Place of its first character in the decoded file, after the byte order mark."""
    length: int
    """Characters it takes in the file; more than `text` holds if it is too long."""


class Outline(NamedTuple):
    """Where the rows are: the kind of the document, and the key of the array for "wrapped"."""

    kind: Kind
    key: str = ""


def text_errors(encoding: str) -> str:
    """How to decode: bytes that are no text become lone surrogates where possible, which encode to the same bytes again."""
    return "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"


class Feed:
    """Decoded text with a place in it; what is behind the place is forgotten."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)(text_errors(encoding))
        self._file = file
        self._ended = False
        self._forgotten = 0
        self._indent: str | None = None
        """The spaces before the place, if nothing else is before it on its line."""
        self.text = ""
        self.place = 0

    @property
    def position(self) -> int:
        """The place counted from the beginning of the text."""
        return self._forgotten + self.place

    def more(self) -> bool:
        """Read as much again as is pending (so that growing stays linear). False at the end of the file."""
        if self._ended:
            return False
        block = self._file.read(max(BLOCK, len(self.text) - self.place))
        self._ended = not block
        self._forgotten += self.place
        self.text = self.text[self.place :] + self._decoder.decode(block, final=self._ended)
        self.place = 0
        return True

    def peek(self) -> str:
        """The next sign that is no space, or "" at the end; the place moves to it."""
        while True:
            found = _SPACE.match(self.text, self.place)
            if found and found.end() > self.place:
                _, newline, spaces = found[0].rpartition("\n")
                self._indent = spaces if newline else None
                self.place = found.end()
            if self.place < len(self.text):
                return self.text[self.place]
            if not self.more():
                return ""

    def second(self) -> str:
        """The first sign that is no space after the one at the place, which does not move."""
        while True:
            found = _SPACE.match(self.text, self.place + 1)
            if found and found.end() < len(self.text):
                return self.text[found.end()]
            if not self.more():
                return ""

    def value(self) -> Element:
        """The value that begins here, by its brackets and quotes alone: a syntax error inside it does not spread."""
        while (end := self._end()) is None or (end == len(self.text) and not self._ended):
            if len(self.text) - self.place > MAX_ROW_BYTES:
                return self._lost(_TOO_LONG)
            if not self.more() and self._end() is None:
                return self._lost("the file ends inside this row")
        if end - self.place > MAX_ROW_BYTES:
            return self._lost(_TOO_LONG)
        return self._take(end, "")

    def _take(self, end: int, damage: str) -> Element:
        text, start = self.text[self.place : end], self.position
        self.place, self._indent = end, None
        return Element(text, damage, start, len(text))

    def _lost(self, damage: str) -> Element:
        """A value without an end in sight: up to the next line that begins as its own did, else without limit."""
        if self._indent is not None and (found := self.text.find(f"\n{self._indent}{{", self.place)) >= 0:
            # most likely a quote is missing: the JSON reader will say so
            return self._take(len(self.text[:found].rstrip(" \t\r\n,")), "")
        start, text = self.position, self.text[self.place : self.place + BLOCK]
        self._skip()
        return Element(text, damage, start, self.position - start)

    def _skip(self) -> None:
        """Move behind the value that begins here without holding it."""
        if self.text[self.place] not in '{["':
            while (found := _SCALAR.match(self.text, self.place)) is not None:
                self.place = found.end()
                if self.place < len(self.text) or not self.more():
                    return
            return
        depth, inside = 0, False
        while True:
            if inside:
                rest = _REST_OF_STRING.match(self.text, self.place)
                self.place = rest.end() if rest else self.place
                if self.text[self.place : self.place + 1] == '"':
                    self.place, inside = self.place + 1, False
                    if depth == 0:
                        return
                elif not self.more():
                    self.place = len(self.text)
                    return
            elif (found := _TOKEN.search(self.text, self.place)) is not None:
                self.place, inside = found.end(), found[0] == '"'
                depth += (found[0] in "{[") - (found[0] in "}]")
                if depth <= 0 and not inside:
                    return
            else:
                self.place = len(self.text)
                if not self.more():
                    return

    def _end(self) -> int | None:
        """Place after the value that begins at the current place, None if it does not end in the text at hand."""
        first = self.text[self.place]
        if first not in '{["':
            found = _SCALAR.match(self.text, self.place)
            return found.end() if found else self.place + 1
        depth = 0
        for found in _TOKEN.finditer(self.text, self.place):
            token = found[0]
            if token == '"':
                return None  # a string that does not end here
            if token in "{[":
                depth += 1
            elif token in "}]":
                depth -= 1
            if depth <= 0:
                return found.end()
        return None


def outline(path: Path, encoding: str, skip: int) -> Outline:
    """Where the rows of a JSON document are. Raises DataError if it has none."""
    with path.open("rb") as file:
        file.seek(skip)
        feed = Feed(file, encoding)
        first = feed.peek()
        if first == "[":
            return Outline("array")
        if first != "{":
            raise DataError(f"{path.name} is no JSON: it begins with neither '[' nor '{{'. Save the rows as a JSON array or as JSON Lines.")
        kinds = dict(_members(feed))
    for wrapper in WRAPPERS:
        for key, kind in kinds.items():
            if key.casefold() == wrapper and kind in ("[{", "[["):
                return Outline("wrapped", key)
    if kinds and all(kind[:1] in "[{" for kind in kinds.values()) and "[{" not in kinds.values():
        return Outline("columns")
    return Outline("objects")


def lists_beside(path: Path, encoding: str, skip: int, key: str) -> list[str]:
    """Keys beside `key` in the first object whose values are lists of objects or lists; reads it to its end."""
    with path.open("rb") as file:
        file.seek(skip)
        feed = Feed(file, encoding)
        feed.peek()
        return [name for name, kind in _members(feed, stop=False) if kind in ("[{", "[[") and name != key]


def _members(feed: Feed, *, stop: bool = True) -> Iterator[tuple[str, str]]:
    """Keys of the first object with the first signs of their values, e.g. ("data", "[{"); stops at the first wrapper if it may."""
    feed.place += 1
    while feed.peek() == '"':
        key = feed.value().text[1:-1]
        if feed.peek() != ":":
            return
        feed.place += 1
        kind = feed.peek()
        if not kind:  # the file ends after the colon
            return
        if kind == "[":
            kind += feed.second()
        yield key, kind
        if stop and key.casefold() in WRAPPERS and kind in ("[{", "[["):
            return
        feed.value()
        if feed.peek() == ",":
            feed.place += 1


def elements(path: Path, encoding: str, skip: int, where: Outline) -> Iterator[Element]:
    """The rows of an array, a wrapped array or objects one after another, in order."""
    with path.open("rb") as file:
        file.seek(skip)
        feed = Feed(file, encoding)
        if where.kind == "objects":
            while feed.peek():
                yield feed.value()
                feed.place += feed.peek() == ","
            return
        if where.kind == "wrapped":
            _enter(feed, where.key)
        feed.peek()
        feed.place += 1
        yield from _array(feed)


def _enter(feed: Feed, key: str) -> None:
    """Move to the value of `key` in the object that begins here."""
    feed.peek()
    feed.place += 1
    while feed.peek() == '"':
        name = feed.value().text[1:-1]
        feed.place += feed.peek() == ":"
        feed.peek()
        if name == key:
            return
        feed.value()
        feed.place += feed.peek() == ","


def _array(feed: Feed) -> Iterator[Element]:
    whole = True
    while (sign := feed.peek()) != "]":
        if not sign:
            if whole:
                yield Element("", "the file ends before the list is closed: it is cut off", feed.position, 0)
            return
        if sign in ",:}":
            feed.place += 1
            continue
        element = feed.value()
        whole = not element.damage
        yield element
