"""The quick way from a parsed object to a row, for objects that are exactly as they should be.

Anything unusual, and be it a warning, is left to `Interpreter`: both give the same row where both give one.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from typing import Any

import orjson

from reft_studio.data.chat.conversation import ROLES, UnusableRowError, prompt_and_response
from reft_studio.data.chat.marks import BESIDE
from reft_studio.data.columns import find_column, plain_name
from reft_studio.data.rows.interpret import CONTROL, LONG_TEXT, MAIN
from reft_studio.data.rows.mapping import CONVERSATIONS, Mapping, is_blank
from reft_studio.data.rows.row_columns import RowColumns, row_hash
from reft_studio.data.rows.truth import label_text, truth

KNOWN = 4096
"""Shapes and orders of speakers that are remembered."""
REMEMBERED = 128
"""Keys or turns of what is remembered, so that no upload can fill the memory with them."""
EXACT = 1 << 53
"""Numbers below it are whole in a float: orjson reads longer ones differently from Python."""
_SPOKEN = frozenset(("role", "content", "from", "value"))
_TEXT = (str, type(None))
_PLAIN = frozenset((str, int, bool, type(None)))


@dataclass(frozen=True)
class _Shape:
    """What rows with the same keys have in common."""

    keys: int
    extra: tuple[str, ...]
    """Keys that no part of a row is read from."""


@dataclass(frozen=True)
class _Speakers:
    """What conversations with the same order of speakers have in common."""

    roles: tuple[str, ...]
    as_uploaded: bool
    prompt: int
    response: int
    """Place of the answer, -1 if there is none."""
    user_turns: int


class FastRows:
    """Adds plain objects to `columns`. `keys` counts the keys of all objects that were added."""

    def __init__(self, mapping: Mapping, role: str) -> None:
        self.keys = 0
        self._names = mapping.columns
        self._labels_said = mapping.labels
        self._roles = {**ROLES, **mapping.roles}
        self._format = mapping.format
        self._needs_answer = role in ("user", "helpful")
        self._said = ("from", "value") if mapping.format == "sharegpt" else ("role", "content")
        self._shapes: dict[tuple[str, ...], _Shape | None] = {}
        self._speakers: dict[tuple[str, ...], _Speakers | None] = {}
        self._truths: dict[tuple[type, Any], bool | None] = {}

    def add(self, value: dict[str, Any], row_id: int, columns: RowColumns, *, controls: bool, keys: int | None = None) -> bool:
        """Append the row an object says; False if it needs a closer look, and nothing is appended.

        `controls`: whether its texts may hold control characters; `keys`: how many there are in its text, if that matters.
        """
        names = tuple(value)
        shape = self._shapes[names] if names in self._shapes else self._new_shape(names)
        if shape is None or (shape.extra and not all(_plain(value[key]) for key in shape.extra)):
            return False
        try:
            read = self._conversation(value) if self._format in CONVERSATIONS else self._pair(value)
        except (TypeError, orjson.JSONEncodeError):  # an unhashable role, half a surrogate pair
            return False
        if read is None:
            return False
        messages, prompt, response, turns, user_turns, inner = read
        if keys is not None and keys != shape.keys + inner:
            return False
        if controls and (CONTROL.search(prompt) or CONTROL.search(response)):
            return False
        if len(prompt) > LONG_TEXT or len(response) > LONG_TEXT or _empty(prompt):
            return False
        empty = _empty(response)
        if (empty and self._needs_answer) or ("wanted" in self._names and value.get(self._names["wanted"]) is not True):
            return False
        if not self._labels(value, columns):
            return False
        columns.ids.append(row_id)
        columns.prompts.append(prompt)
        columns.responses.append(response)
        columns.messages.append(messages)
        columns.hashes.append(row_hash(prompt, response, messages.decode() if turns > 2 else ""))
        columns.multi_turn += user_turns > 1
        columns.empty_responses += empty
        self.keys += shape.keys + inner
        return True

    def _new_shape(self, keys: tuple[str, ...]) -> _Shape | None:
        names = self._names
        lacks = any(target in MAIN and column not in keys for target, column in names.items())
        answered = "prompt" in names and "response" not in names and find_column("response", keys)
        unusual = self._format == "text" or "preferred_output" in keys or any(not key or key.endswith("\\") for key in keys)
        used = set(names.values())
        extra = tuple(key for key in keys if key not in used)
        unusual = unusual or any(plain_name(key) in BESIDE for key in extra)
        shape = None if lacks or answered or unusual else _Shape(len(keys), extra)
        if len(self._shapes) < KNOWN and len(keys) <= REMEMBERED and sum(map(len, keys)) <= 16 * REMEMBERED:
            self._shapes[keys] = shape
        return shape

    def _conversation(self, value: MappingOf[str, Any]) -> tuple[bytes, str, str, int, int, int] | None:
        """Messages as JSON, prompt, response, turns, turns of the user, and keys of all turns."""
        turns = value[self._names["messages"]]
        if type(turns) is not list:
            return None
        role_key, content_key = self._said
        roles, texts, inner, ordered = [], [], 0, True
        for turn in turns:
            if type(turn) is not dict or type(text := turn.get(content_key)) is not str or role_key not in turn:
                return None
            if len(turn) != 2:
                if any(item is not None or key in _SPOKEN or key.endswith("\\") for key, item in turn.items() if key not in self._said):
                    return None
                ordered = False
            roles.append(turn[role_key])
            texts.append(text)
            inner += len(turn)
            ordered = ordered and next(iter(turn)) == "role"
        said = tuple(roles)
        speakers = self._speakers[said] if said in self._speakers else self._new_speakers(said)
        if speakers is None:
            return None
        system = value.get(self._names.get("system", ""))
        if system and (type(system) is not str or speakers.roles[0] in ("system", "developer")):
            return None
        if system or not (ordered and speakers.as_uploaded):
            turns = [{"role": role, "content": text} for role, text in zip(speakers.roles, texts, strict=True)]
        if system:
            turns.insert(0, {"role": "system", "content": system})
        response = texts[speakers.response] if speakers.response >= 0 else ""
        return orjson.dumps(turns), texts[speakers.prompt], response, len(turns), speakers.user_turns, inner

    def _new_speakers(self, said: tuple[str, ...]) -> _Speakers | None:
        speakers = None
        if said and all(isinstance(name, str) and name in self._roles for name in said):
            roles = tuple(self._roles[name] for name in said)
            try:
                # each turn says its place
                numbered = [{"role": role, "content": str(place)} for place, role in enumerate(roles)]
                found = prompt_and_response(numbered)
            except UnusableRowError:
                found = None
            if found is not None and not found.warnings:
                speakers = _Speakers(roles, roles == said, int(found.prompt), int(found.response or -1), roles.count("user"))
        if speakers is not None and len(self._speakers) < KNOWN and len(said) <= REMEMBERED:
            self._speakers[said] = speakers
        return speakers

    def _pair(self, value: MappingOf[str, Any]) -> tuple[bytes, str, str, int, int, int] | None:
        names = self._names
        prompt, response = value[names["prompt"]], value.get(names.get("response", ""), "")
        extra, system = value.get(names.get("input", ""), ""), value.get(names.get("system", ""), "")
        if type(prompt) is not str or type(response) is not str or value.get(names.get("history", "")) not in (None, "", []):
            return None
        if type(extra) not in _TEXT or type(system) not in _TEXT:
            return None
        if extra:
            prompt = extra if _empty(prompt) else f"{prompt}\n{extra}"
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        if system:
            turns.insert(0, {"role": "system", "content": system})
        return orjson.dumps(turns), prompt, response, len(turns), 1, 0

    def _labels(self, value: MappingOf[str, Any], columns: RowColumns) -> bool:
        """Append origin, category and ground truth; False (and nothing appended) if one is no plain value."""
        names = self._names
        origin, category = value.get(names.get("origin", "")), value.get(names.get("category", ""))
        if not (origin is None or type(origin) is str) or not (category is None or type(category) is str):
            return False
        known = None
        if (column := names.get("known_harmful")) is not None and (cell := value.get(column)) is not None:
            if type(cell) not in _PLAIN or (type(cell) is str and len(cell) > 100):
                return False
            key = (type(cell), cell)
            if key not in self._truths:
                if len(self._truths) >= KNOWN:
                    return False
                self._truths[key] = truth(cell, column, self._labels_said)
            known = self._truths[key]
            if known is None and label_text(cell):
                return False  # a warning
        columns.origins.append(origin[:500] if origin else "")
        columns.categories.append(category[:500] if category else None)
        columns.truths.append(known)
        return True


def _plain(cell: Any) -> bool:
    """Whether every JSON reader reads this value alike."""
    return type(cell) in _PLAIN or (type(cell) is float and -EXACT < cell < EXACT)


def _empty(text: str) -> bool:
    return not text or (not text[0].isalnum() and is_blank(text))
