"""From a record to a row: which columns hold what, guessed from names and values or said by the person."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from reft_studio.data.columns import SYNONYMS, find_column, looks_like_names, plain_name
from reft_studio.data.conversation import UnusableRowError, is_conversation, prompt_and_response, turns_of, turns_of_transcript, user_turns
from reft_studio.data.dataset import Row
from reft_studio.data.reading.truth import NOT_UNDERSTOOD, label_text, truth
from reft_studio.errors import SpecError

Format = Literal["openai", "alpaca", "sharegpt", "pairs", "text"]
FORMATS: tuple[Format, ...] = ("openai", "alpaca", "sharegpt", "pairs", "text")
TARGETS = ("prompt", "response", "messages", "text", "input", "system", "history", "category", "origin", "known_harmful")
REQUIRED = {
    "openai": ("messages",),
    "sharegpt": ("messages",),
    "alpaca": ("prompt", "response"),
    "pairs": ("prompt",),
    "text": ("text",),
}
MAX_COLUMNS = 2000
SURE = 0.5
"""Below this confidence a person must confirm the columns before rows are imported."""
_INVISIBLE = re.compile(r"[\s\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\x00-\x1f\x7f-\x9f]*")


class Mapping(BaseModel):
    """Which column of the upload gives which part of a row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str | None = Field(None, description="one of openai, alpaca, sharegpt, pairs, text; none lets the app decide")
    columns: dict[str, str] = Field(
        default_factory=dict, description="part of a row (prompt, response, messages, category, origin, known_harmful) -> column"
    )
    labels: dict[str, bool] = Field(
        default_factory=dict, description="value of the known_harmful column -> whether it means harmful; none: by the usual words"
    )

    def checked(self, columns: Sequence[str]) -> Mapping:
        """The mapping itself, complete, if it fits a file with these columns. Raises SpecError with what is allowed."""
        if self.format is not None and self.format not in FORMATS:
            raise SpecError(f"format is '{self.format}'. Choose one of: {', '.join(FORMATS)}.")
        for target, column in self.columns.items():
            if target not in TARGETS:
                raise SpecError(f"'{target}' is no part of a row. Choose one of: {', '.join(TARGETS)}.")
            if column not in columns:
                raise SpecError(f"There is no column '{column[:40]}' for {target}. Columns found: {name_list(columns)}.")
        chosen = self.format or _format_of(self.columns)
        missing = [target for target in REQUIRED[chosen] if target not in self.columns]
        if missing:
            raise SpecError(f"The format '{chosen}' needs a column for {' and '.join(missing)}. Columns found: {name_list(columns)}.")
        return Mapping(format=chosen, columns=self.columns, labels=self.labels)


def name_list(columns: Sequence[str]) -> str:
    """Up to twelve column names for a message; never what may be the text of a row."""
    if not looks_like_names(columns):
        return f"{len(columns)}, but the first line does not look like a header"
    shown = ", ".join(column[:40] for column in columns[:12])
    return f"{shown}, … ({len(columns)} in all)" if len(columns) > 12 else shown or "none"


def _format_of(columns: MappingOf[str, str]) -> Format:
    if "messages" in columns:
        return "openai"
    return "text" if "text" in columns and "prompt" not in columns else "pairs"


@dataclass(frozen=True)
class Guess:
    """A mapping and how sure it is, 0 to 1."""

    mapping: Mapping
    confidence: float


def guess(columns: Sequence[str], values: Sequence[MappingOf[str, Any]]) -> Guess:
    """The likeliest mapping for these columns (the first `MAX_COLUMNS`), judging by their names and some rows."""
    columns = list(columns[:MAX_COLUMNS])
    main = _conversation_column(columns, values) or _named_pair(columns) or _text_column(columns) or _two_texts(columns, values)
    if main is None:
        return Guess(Mapping(), 0.0)
    taken = set(main.mapping.columns.values())
    found = dict(main.mapping.columns)
    optional = ["category", "origin"] + (["system"] if main.mapping.format in ("alpaca", "sharegpt", "pairs") else [])
    for target in optional:
        if column := find_column(target, columns, taken=taken):
            found[target] = column
            taken.add(column)
    if column := _truth_column(columns, values, taken):
        found["known_harmful"] = column
    return Guess(Mapping(format=main.mapping.format, columns=found), main.confidence)


def _conversation_column(columns: Sequence[str], values: Sequence[MappingOf[str, Any]]) -> Guess | None:
    names = [column for column in columns if plain_name(column) in SYNONYMS["messages"]]
    for column in [*names, *(column for column in columns if column not in names and plain_name(column) not in ("prompt", "completion"))]:
        cells = [_from_json(value.get(column)) for value in values]
        first = next((cell for cell in cells if is_conversation(cell)), None)
        if first is not None:
            speaker = next(turn for turn in first if isinstance(turn, dict))
            kind: Format = "openai" if "role" in speaker else "sharegpt"
            return Guess(Mapping(format=kind, columns={"messages": column}), 1.0 if column in names else 0.8)
    if names and all(not value.get(names[0]) for value in values):
        return Guess(Mapping(format="openai", columns={"messages": names[0]}), 0.6)  # only empty conversations so far
    return None


def _named_pair(columns: Sequence[str]) -> Guess | None:
    prompt = find_column("prompt", columns)
    if prompt is None:
        return None
    response = find_column("response", columns, taken={prompt})
    found = {"prompt": prompt} | ({"response": response} if response else {})
    if plain_name(prompt) == "instruction" and response:
        for target in ("input", "history"):
            if column := find_column(target, columns, taken=set(found.values())):
                found[target] = column
        return Guess(Mapping(format="alpaca", columns=found), 1.0)
    return Guess(Mapping(format="pairs", columns=found), 0.95 if response else 0.6)


def _text_column(columns: Sequence[str]) -> Guess | None:
    column = find_column("text", columns)
    return Guess(Mapping(format="text", columns={"text": column}), 0.9) if column else None


def _two_texts(columns: Sequence[str], values: Sequence[MappingOf[str, Any]]) -> Guess | None:
    """Unknown names: the first two columns that hold text, as a proposal for a person to confirm."""
    texts = [column for column in columns if any(isinstance(value.get(column), str) and _has_words(value[column]) for value in values)]
    if not texts:
        return None
    found = dict(zip(("prompt", "response"), texts[:2], strict=False))
    return Guess(Mapping(format="pairs", columns=found), 0.3 if len(texts) == 2 else 0.2)


def _has_words(text: str) -> bool:
    return any(sign.isalpha() for sign in text[:200])


def _truth_column(columns: Sequence[str], values: Sequence[MappingOf[str, Any]], taken: set[str]) -> str | None:
    """A column that says harmful or harmless in every row looked at, or None: a doubtful label is no ground truth."""
    for name in SYNONYMS["known_harmful"]:
        for column in columns:
            if plain_name(column) == name and column not in taken:
                cells = [value[column] for value in values if value.get(column) not in (None, "")]
                if cells and all(truth(cell, column) is not None for cell in cells):
                    return column
    return None


@dataclass(frozen=True)
class Built:
    """A row and what a person should know about it."""

    row: Row
    user_turns: int
    warnings: list[str]
    text_only: bool = False
    """Whether it came from a text in which nobody answers."""


def build(value: MappingOf[str, Any], mapping: Mapping) -> Built:
    """The row that a record says, by a mapping. Raises UnusableRowError with the reason if it says none."""
    turns, prompt, response, warnings = _READERS[mapping.format or "pairs"](value, mapping.columns)
    row = Row(prompt=prompt, response=response, messages=turns)
    if (column := mapping.columns.get("origin")) is not None:
        row["origin"] = _label(value.get(column)) or ""
    if (column := mapping.columns.get("category")) is not None:
        row["category"] = _label(value.get(column))
    if (column := mapping.columns.get("known_harmful")) is not None:
        row["known_harmful"] = truth(value.get(column), column, mapping.labels)
        if row["known_harmful"] is None and label_text(value.get(column)):
            warnings.append(NOT_UNDERSTOOD)
    text_only = mapping.format == "text" and all(turn["role"] != "assistant" for turn in turns)
    return Built(row, user_turns(turns), warnings, text_only)


Reading = tuple[list[dict[str, Any]], str, str, list[str]]


def _read_conversation(value: MappingOf[str, Any], columns: MappingOf[str, str]) -> Reading:
    cell = _from_json(value.get(columns["messages"]))
    if not isinstance(cell, list):
        raise UnusableRowError("no conversation", f"'{columns['messages']}' must be a list of turns, each with role and content.")
    if not cell:
        raise UnusableRowError("the conversation is empty", "Give it a user turn and an answer.")
    turns = turns_of(cell)
    system = _text(value.get(columns["system"]), "system", []) if "system" in columns and turns[0]["role"] != "system" else ""
    if system:
        turns.insert(0, {"role": "system", "content": system})
    return (turns, *prompt_and_response(turns))


def _read_pair(value: MappingOf[str, Any], columns: MappingOf[str, str]) -> Reading:
    warnings: list[str] = []
    question, answer = value.get(columns["prompt"]), value.get(columns.get("response", ""))
    if is_conversation(question) or is_conversation(answer):  # TRL's conversational prompt and completion
        turns = _as_turns(question, "user") + _as_turns(answer, "assistant")
        return (turns, *prompt_and_response(turns))
    prompt = _text(question, "prompt", warnings)
    if extra := _text(value.get(columns.get("input", "")), "input", warnings):
        prompt = f"{prompt}\n{extra}"
    response = _text(answer, "response", warnings)
    turns = _earlier(value.get(columns.get("history", "")))
    if system := _text(value.get(columns.get("system", "")), "system", warnings):
        turns.insert(0, {"role": "system", "content": system})
    turns += [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    return turns, prompt, response, warnings


def _as_turns(cell: Any, role: str) -> list[dict[str, Any]]:
    return turns_of(cell) if is_conversation(cell) else [{"role": role, "content": _text(cell, role, [])}]


def _earlier(history: Any) -> list[dict[str, Any]]:
    """Turns of Alpaca's `history`: a list of [question, answer]."""
    pairs = [pair for pair in history if isinstance(pair, list) and len(pair) == 2] if isinstance(history, list) else []
    names = ("user", "assistant")
    return [{"role": role, "content": text} for pair in pairs for role, text in zip(names, pair, strict=True) if isinstance(text, str)]


def _read_text(value: MappingOf[str, Any], columns: MappingOf[str, str]) -> Reading:
    warnings: list[str] = []
    text = _text(value.get(columns["text"]), "text", warnings)
    turns = turns_of_transcript(text)
    if turns is None:
        warnings.append("text without marks of who speaks: it is judged as a prompt, and there is no response to train")
        return [{"role": "user", "content": text}], text, "", warnings
    prompt, response, more = prompt_and_response(turns)
    return turns, prompt, response, warnings + more


_READERS = {"openai": _read_conversation, "sharegpt": _read_conversation, "alpaca": _read_pair, "pairs": _read_pair, "text": _read_text}


def _text(cell: Any, part: str, warnings: list[str]) -> str:
    """A cell as text; numbers are written out, nothing is "". Raises UnusableRowError for lists and objects."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool | int | float):
        warnings.append(f"the {part} is a number or true/false, read as text")
        return json.dumps(cell) if isinstance(cell, bool) else str(cell)
    if isinstance(cell, bytes):
        try:
            return cell.decode("utf-8")
        except UnicodeDecodeError:
            raise UnusableRowError(f"the {part} is binary data", f"The {part} must be text in UTF-8.") from None
    kind = "a list" if isinstance(cell, list) else "an object" if isinstance(cell, dict) else f"a {type(cell).__name__}"
    raise UnusableRowError(f"the {part} is {kind}", f"The {part} must be text.")


def _label(cell: Any) -> str | None:
    """A category or origin as text: of {name: true} and of lists the names."""
    if isinstance(cell, dict):
        cell = [name for name, on in cell.items() if on is True]
    if isinstance(cell, list):
        return ", ".join(str(part) for part in cell[:20])[:500] or None
    return str(cell)[:500] if cell not in (None, "") else None


def _from_json(cell: Any) -> Any:
    """A conversation that a CSV cell holds as JSON text, or the cell itself."""
    if isinstance(cell, str) and cell.lstrip()[:1] == "[":
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: empty, spaces, zero-width or control characters."""
    return _INVISIBLE.fullmatch(text) is not None
