"""From a record to a row: which columns hold what, guessed from names and values or said by the person."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from reft_studio.data.chat import python_text
from reft_studio.data.chat.content import text_of, turn_text
from reft_studio.data.chat.conversation import (
    SPEAKERS,
    ConversationTexts,
    UnusableRowError,
    is_conversation,
    prompt_and_response,
    turns_of,
    turns_of_transcript,
    user_turns,
)
from reft_studio.data.chat.dialects import parsed, turn, turns_in
from reft_studio.data.chat.marks import is_unwanted, left_out, row_untrained, said, wanted_column
from reft_studio.data.columns import SYNONYMS, find_column, looks_like_names, plain_name
from reft_studio.data.dataset import Row
from reft_studio.data.rows.truth import NOT_UNDERSTOOD, label_text, truth
from reft_studio.errors import SpecError

Format = Literal["openai", "alpaca", "sharegpt", "chat", "pairs", "text"]
ROW_FORMATS: tuple[Format, ...] = ("openai", "alpaca", "sharegpt", "chat", "pairs", "text")
CONVERSATIONS = ("openai", "sharegpt", "chat")
"""Formats whose rows are a list of turns: with role and content, with from and value, or in any other dialect."""
TARGETS = ("prompt", "response", "messages", "text", "input", "system", "history", "category", "origin", "known_harmful", "wanted")
REQUIRED = {
    "openai": ("messages",),
    "sharegpt": ("messages",),
    "chat": ("messages",),
    "alpaca": ("prompt", "response"),
    "pairs": ("prompt",),
    "text": ("text",),
}
MAX_COLUMNS = 2000
MAX_ROLES = 100
SURE = 0.5
"""Below this confidence a person must confirm the columns before rows are imported."""
_INVISIBLE = re.compile(r"[\s\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\x00-\x1f\x7f-\x9f]*")


class Mapping(BaseModel):
    """Which column of the upload gives which part of a row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str | None = Field(None, description="one of openai, alpaca, sharegpt, chat, pairs, text; none lets the app decide")
    columns: dict[str, str] = Field(
        default_factory=dict, description="part of a row (prompt, response, messages, category, origin, known_harmful, wanted) -> column"
    )
    labels: dict[str, bool] = Field(
        default_factory=dict, description="value of the known_harmful column -> whether it means harmful; none: by the usual words"
    )
    roles: dict[str, str] = Field(default_factory=dict, description="speaker that nobody knows -> user, assistant, system or tool")

    def checked(self, columns: Sequence[str]) -> Mapping:
        """The mapping itself, complete, if it fits a file with these columns. Raises SpecError with what is allowed."""
        roles = self.checked_roles()
        if self.format is not None and self.format not in ROW_FORMATS:
            raise SpecError(f"format is '{self.format}'. Choose one of: {', '.join(ROW_FORMATS)}.")
        for target, column in self.columns.items():
            if target not in TARGETS:
                raise SpecError(f"'{target}' is no part of a row. Choose one of: {', '.join(TARGETS)}.")
            if column not in columns:
                raise SpecError(f"There is no column '{column[:40]}' for {target}. Columns found: {name_list(columns)}.")
        chosen = self.format or _format_of(self.columns)
        missing = [target for target in REQUIRED[chosen] if target not in self.columns]
        if missing:
            raise SpecError(f"The format '{chosen}' needs a column for {' and '.join(missing)}. Columns found: {name_list(columns)}.")
        return Mapping(format=chosen, columns=self.columns, labels=self.labels, roles=roles)

    def checked_roles(self) -> dict[str, str]:
        """Who each declared speaker is, by names in small letters. Raises SpecError with what is allowed."""
        if len(self.roles) > MAX_ROLES:
            raise SpecError(f"{len(self.roles)} speakers are declared; at most {MAX_ROLES} are allowed.")
        for name, role in self.roles.items():
            if role not in SPEAKERS:
                raise SpecError(f"The speaker '{name[:40]}' is declared to be '{role[:40]}'. Choose one of: {', '.join(SPEAKERS)}.")
        return {name.strip().casefold(): role for name, role in self.roles.items()}


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
    optional = ["category", "origin"] + (["system"] if main.mapping.format != "text" else [])
    for target in optional:
        if column := find_column(target, columns, taken=taken):
            found[target] = column
            taken.add(column)
    if main.mapping.format != "text" and (column := wanted_column(columns, values, found.get("response"), taken)):
        found["wanted"] = column
        taken.add(column)
    if column := _truth_column(columns, values, taken):
        found["known_harmful"] = column
    return Guess(Mapping(format=main.mapping.format, columns=found), main.confidence)


def _conversation_column(columns: Sequence[str], values: Sequence[MappingOf[str, Any]]) -> Guess | None:
    names = [column for column in columns if plain_name(column) in SYNONYMS["messages"]]
    others = [column for column in columns if column not in names and plain_name(column) not in ("prompt", "completion")]
    for column in [*names, *(column for column in others if not is_unwanted(column))]:
        for value in values:
            cell = parsed(value.get(column))
            if turns_in(cell, pairs=column in names) is not None:
                return Guess(Mapping(format=_dialect(cell), columns={"messages": column}), 1.0 if column in names else 0.8)
    if names and all(not value.get(names[0]) for value in values):
        return Guess(Mapping(format="openai", columns={"messages": names[0]}), 0.6)  # only empty conversations so far
    return None


def _dialect(cell: Any) -> Format:
    keys = next((item for item in cell if isinstance(item, dict)), {}) if isinstance(cell, list) else {}
    return "openai" if "role" in keys and "parts" not in keys else "sharegpt" if "from" in keys else "chat"


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
    texts = [
        column
        for column in columns
        if not is_unwanted(column) and any(isinstance(value.get(column), str) and _has_words(value[column]) for value in values)
    ]
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
    why_no_prompt: str = "empty prompt"
    why_no_response: str = "empty response"
    """What to say if the prompt or the response shows nothing."""
    not_trained: str = ""
    """Why the file does not want this row trained, if so."""


def build(value: MappingOf[str, Any], mapping: Mapping) -> Built:
    """The row that a record says, by a mapping. Raises UnusableRowError with the reason if it says none."""
    turns, spoken = _READERS[mapping.format or "pairs"](value, mapping)
    row = Row(prompt=spoken.prompt, response=spoken.response, messages=turns)
    warnings = [*spoken.warnings, *left_out(value, mapping.columns)]
    if (column := mapping.columns.get("origin")) is not None:
        row["origin"] = _label(value.get(column)) or ""
    if (column := mapping.columns.get("category")) is not None:
        row["category"] = _label(value.get(column))
    if (column := mapping.columns.get("known_harmful")) is not None:
        row["known_harmful"] = truth(value.get(column), column, mapping.labels)
        if row["known_harmful"] is None and label_text(value.get(column)):
            warnings.append(NOT_UNDERSTOOD)
    not_trained, unsure = _not_trained(value, mapping.columns)
    text_only = mapping.format == "text" and all(one["role"] != "assistant" for one in turns)
    return Built(row, user_turns(turns), warnings + unsure, text_only, spoken.why_no_prompt, spoken.why_no_response, not_trained)


def _not_trained(value: MappingOf[str, Any], columns: MappingOf[str, str]) -> tuple[str, list[str]]:
    """Why a row is not to be trained, or ""; and what to warn of."""
    if mark := row_untrained(value, columns):
        return f"the row is marked as not to be trained ({mark})", []
    if (column := columns.get("wanted")) is None:
        return "", []
    wanted = said(value.get(column))
    if wanted is None:
        return "", ["nothing says whether the answer is wanted"]
    return ("" if wanted else f"an unwanted answer ({plain_name(column)[:40]}: false)"), []


Reading = tuple[list[dict[str, Any]], ConversationTexts]


def _read_conversation(value: MappingOf[str, Any], mapping: Mapping) -> Reading:
    columns = mapping.columns
    cell = parsed(value.get(columns["messages"]))
    found = turns_in(cell, pairs=True)
    if python_text.looks_like_turns(cell):
        raise UnusableRowError(python_text.NOT_READ, python_text.NOT_READ_HINT)
    if found is None and not isinstance(cell, list):
        raise UnusableRowError("no conversation", f"'{columns['messages']}' must be a list of turns, each with role and content.")
    if not cell:
        raise UnusableRowError("the conversation is empty", "Give it a user turn and an answer.")
    turns = turns_of(cell if found is None else found, mapping.roles)
    warnings: list[str] = []
    system = _system(value, columns)
    if system and turns[0]["role"] not in ("system", "developer"):
        turns.insert(0, {"role": "system", "content": system})
    elif system and system != turn_text(turns[0]):
        warnings.append("a system text beside a conversation that begins with another one is left out")
    exchange = prompt_and_response(turns)
    return turns, replace(exchange, warnings=[*exchange.warnings, *warnings])


def _system(value: MappingOf[str, Any], columns: MappingOf[str, str]) -> str:
    """The system text of a row: a text, a list of parts (Anthropic), or an object of parts (Gemini)."""
    cell = value.get(columns.get("system", ""))
    if isinstance(cell, dict):
        cell = turn(cell).get("content")
    return text_of(cell) if isinstance(cell, list) else _text(cell, "system prompt", [])


def _read_pair(value: MappingOf[str, Any], mapping: Mapping) -> Reading:
    columns = mapping.columns
    warnings: list[str] = []
    question, answer = value.get(columns["prompt"]), value.get(columns.get("response", ""))
    if _spoken(question) or _spoken(answer):  # TRL's conversational prompt and completion
        turns = _one_after_another(_as_turns(question, "user", mapping), _as_turns(answer, "assistant", mapping))
        if (system := _system(value, columns)) and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": system})
        return turns, prompt_and_response(turns)
    prompt = _text(question, "prompt", warnings)
    if extra := _text(value.get(columns.get("input", "")), "input", warnings):
        prompt = extra if is_blank(prompt) else f"{prompt}\n{extra}"
    response = _text(answer, "response", warnings)
    turns = _earlier(value.get(columns.get("history", "")))
    if system := _system(value, columns):
        turns.insert(0, {"role": "system", "content": system})
    turns += [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    return turns, ConversationTexts(prompt, response, warnings)


def _spoken(cell: Any) -> bool:
    """Whether a cell is a list of turns, or a single one."""
    return is_conversation(cell) or (isinstance(cell, dict) and "role" in cell and "content" in cell)


def _as_turns(cell: Any, role: str, mapping: Mapping) -> list[dict[str, Any]]:
    if _spoken(cell):
        return turns_of(turns_in(cell) or [cell], mapping.roles)
    return [{"role": role, "content": text}] if (text := _text(cell, role, [])) else []


def _one_after_another(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Prompt and answer as one conversation; an answer that tells the prompt once more (DPO) does not double it."""
    return after if before and after[: len(before)] == before else before + after


def _earlier(history: Any) -> list[dict[str, Any]]:
    """Turns of Alpaca's `history`: a list of [question, answer]."""
    pairs = [pair for pair in history if isinstance(pair, list) and len(pair) == 2] if isinstance(history, list) else []
    names = ("user", "assistant")
    return [{"role": role, "content": text} for pair in pairs for role, text in zip(names, pair, strict=True) if isinstance(text, str)]


def _read_text(value: MappingOf[str, Any], mapping: Mapping) -> Reading:
    warnings: list[str] = []
    text = _text(value.get(mapping.columns["text"]), "text", warnings)
    turns = turns_of_transcript(text)
    if turns is None:
        warnings.append("text without marks of who speaks: it is judged as a prompt, and there is no response to train")
        return [{"role": "user", "content": text}], ConversationTexts(text, "", warnings)
    exchange = prompt_and_response(turns)
    return turns, replace(exchange, warnings=[*warnings, *exchange.warnings])


_READERS = {"alpaca": _read_pair, "pairs": _read_pair, "text": _read_text, **dict.fromkeys(CONVERSATIONS, _read_conversation)}


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
    raise UnusableRowError(f"the {part} is {kind}", f"The {part} must be text{shape_hint(cell)}.")


def shape_hint(cell: Any) -> str:
    """The keys of an object, for a message, where they can be names: "; it has the keys a and b"."""
    first = cell[0] if isinstance(cell, list) and cell else cell
    keys = [str(key) for key in list(first)[:6]] if isinstance(first, dict) else []
    return f", and it has the keys {', '.join(keys)}" if keys and looks_like_names(keys) else ""


def _label(cell: Any) -> str | None:
    """A category or origin as text: of {name: true} and of lists the names."""
    if isinstance(cell, dict):
        cell = [name for name, on in cell.items() if on is True]
    if isinstance(cell, list):
        return ", ".join(str(part) for part in cell[:20])[:500] or None
    return str(cell)[:500] if cell not in (None, "") else None


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: empty, spaces, zero-width or control characters."""
    return _INVISIBLE.fullmatch(text) is not None
