"""Records become rows: by the file's mapping, by their own shape if they differ, or they are set aside with a reason."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reft_studio.data.chat.conversation import UnusableRowError, role_of, speaker_name
from reft_studio.data.chat.dialects import turns_in
from reft_studio.data.columns import find_column
from reft_studio.data.dataset import Role, Row
from reft_studio.data.rows.mapping import MAX_COLUMNS, SURE, Built, Guess, Mapping, build, guess, is_blank
from reft_studio.data.rows.quarantine import RAW_LIMIT, Problem
from reft_studio.data.rows.record import RawRecord

LONG_TEXT = 100_000
"""Characters above which a text is pointed out: most models cut it off."""
MAIN = ("messages", "prompt", "response", "text")
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


ROW = "whole row"
"""The column of a file whose rows are bare texts."""


def objects_of(values: Iterable[Any]) -> list[dict[str, Any]]:
    """The rows that are objects; in a file of bare texts every text is one, under the column `ROW`."""
    known = list(values)
    texts = [value for value in known if isinstance(value, str)]
    if 2 * len(texts) > len(known):
        return [{ROW: text} for text in texts]
    return [value for value in known if isinstance(value, dict)]


def columns_of(values: Sequence[dict[str, Any]], *, limit: int = MAX_COLUMNS) -> list[str]:
    """Keys of the rows in order of appearance, at most `limit`."""
    return list(dict.fromkeys(str(key) for value in values for key in value))[:limit]


def guess_file(values: Sequence[dict[str, Any]]) -> Guess:
    """The mapping that fits most of the rows; rows of one file may have different keys."""
    shapes: dict[frozenset[str], list[dict[str, Any]]] = {}
    for value in values:
        shapes.setdefault(frozenset(value), []).append(value)
    weights: dict[tuple[Any, ...], float] = {}
    members: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for group in shapes.values():
        found = guess(list(group[0]), group)
        # rows without an answer are of the same shape as those with one
        main = tuple(found.mapping.columns.get(target) for target in ("messages", "prompt", "text"))
        weights[main] = weights.get(main, 0.0) + len(group) * (found.confidence + 0.01)
        members.setdefault(main, []).extend(group)
    if not weights:
        return Guess(Mapping(), 0.0)
    chosen = members[max(weights, key=lambda main: weights[main])]
    return guess(columns_of(chosen), chosen)


@dataclass(frozen=True)
class ReadRecord:
    """What one record gave: a row, or None; and its problems."""

    row: Row | None
    problems: list[Problem]
    user_turns: int = 0
    empty_response: bool = False


@dataclass(frozen=True)
class Interpreter:
    """Reads records by `mapping`. With `free`, a record without the mapped columns is read by its own names."""

    mapping: Mapping
    role: Role
    free: bool
    encoding: str = "utf-8"
    """Of the file; for the originals in quarantine."""

    def read(self, record: RawRecord) -> ReadRecord:
        """The row of a record. Never raises: a record that is no row comes back as a problem."""
        if record.error:
            return self._aside(record, record.error, record.hint)
        value = {ROW: record.value} if isinstance(record.value, str) and ROW in self.mapping.columns.values() else record.value
        if not isinstance(value, dict):
            hint = "Each row must be an object with named parts, such as prompt and response or messages."
            return self._aside(record, f"not an object but {_kind(record.value)}", hint)
        try:
            built = self._build(value)
        except UnusableRowError as exc:
            return self._aside(record, exc.reason, exc.hint)
        except RecursionError:
            return self._aside(record, "nested too deeply", "Keep the nesting of a row below some hundred levels.")
        return self._checked(record, built)

    def mapping_of(self, value: dict[str, Any]) -> Mapping:
        """The mapping by which this row is read: the file's, or with `free` its own if it has not the file's columns."""
        columns = self.mapping.columns
        lacks = any(target in MAIN and column not in value for target, column in columns.items())
        if self.free and (lacks or ("prompt" in columns and "response" not in columns and find_column("response", list(value)))):
            own = guess(list(value), [value])
            if own.confidence >= SURE:
                return own.mapping.model_copy(update={"roles": self.mapping.roles})
        return self.mapping

    def _build(self, value: dict[str, Any]) -> Built:
        value = unfold_preference(value)
        mapping = self.mapping_of(value)
        built = build(value, mapping)
        if mapping != self.mapping:
            return replace(built, warnings=[*built.warnings, "another shape than most rows of the file, read by its own names"])
        return built

    def _checked(self, record: RawRecord, built: Built) -> ReadRecord:
        prompt, response = built.row["prompt"], built.row["response"]
        if is_blank(prompt):
            return self._aside(record, built.why_no_prompt, "The prompt is missing or shows nothing. Every row needs one.")
        if built.not_trained and self.role != "benchmark":
            hint = "It is set aside so that it is not trained. If the column means something else, choose another meaning for it, or none."
            return self._aside(record, built.not_trained, hint)
        empty = is_blank(response)
        if empty and self.role in ("user", "helpful") and not built.text_only:
            hint = "A row to train needs a response. Prompts without answers can be imported as harmful or benchmark data."
            return self._aside(record, built.why_no_response, hint, empty_response=True)
        reasons = [*record.warnings, *built.warnings]
        for text in (prompt, response):
            if len(text) > LONG_TEXT:
                reasons.append(f"a text of more than {LONG_TEXT:,} characters, which most models cut off")
            if CONTROL.search(text):
                reasons.append("control characters in the text")
            if not text.isascii() and _SURROGATE.search(text):
                reasons.append("half a surrogate pair, replaced by the replacement character")
        row = built.row
        row["row_id"] = record.row_id
        problems = [Problem(record.line, "warning", reason) for reason in dict.fromkeys(reasons)]
        return ReadRecord(row, problems, built.user_turns, empty)

    def _aside(self, record: RawRecord, reason: str, hint: str, *, empty_response: bool = False) -> ReadRecord:
        return ReadRecord(None, [Problem(record.line, "error", reason, hint, _raw(record, self.encoding))], empty_response=empty_response)


def _raw(record: RawRecord, encoding: str) -> str:
    """The original of a record, cut, for the quarantine file."""
    if record.raw:
        return record.raw[: 4 * RAW_LIMIT].decode(encoding or "utf-8", "replace").replace("\0", "\ufffd")[:RAW_LIMIT]
    try:
        return json.dumps(record.value, ensure_ascii=False, default=str)[:RAW_LIMIT] if record.value is not None else ""
    except (ValueError, RecursionError):
        return ""


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}.get(type(value), "something else")


def unfold_preference(value: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's preference rows as a conversation with the preferred answer."""
    asked, preferred = value.get("input"), value.get("preferred_output")
    if isinstance(asked, dict) and isinstance(asked.get("messages"), list) and isinstance(preferred, list):
        return {**value, "messages": asked["messages"] + preferred}
    return value


def unknown_speakers(values: Iterable[Any], mapping: Mapping, *, limit: int = 40) -> list[str]:
    """The speakers in these records that nobody knows or that were declared, by name, in order of appearance."""
    column = mapping.columns.get("messages")
    found: dict[str, None] = {}
    for value in values:
        turns = turns_in(value.get(column)) if column and isinstance(value, dict) else None
        for one in turns or ():
            name = speaker_name(one.get("role")) if isinstance(one, dict) else ""
            if name and role_of(name) is None and len(found) < limit:
                found[name] = None
    return list(found)
