"""The dialects in which files write a conversation, brought to one list of turns; and an answer written back in the dialect it came in."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reft_studio.data.chat import python_text
from reft_studio.data.chat.content import CALLS, REASONING, SPOKEN
from reft_studio.data.chat.marks import MARKS, PARTLY

SPEAKER = ("role", "from", "speaker", "author", "sender")
TEXT = ("content", "value", "parts", "text", "message", "utterance")
PAIRS = (
    ("input", "output"),  # XTuner
    ("human", "assistant"),
    ("user", "assistant"),
    ("prompt", "response"),
    ("question", "answer"),
    ("instruction", "output"),
)
_KNOWN = frozenset((*SPEAKER, *TEXT, *MARKS, *PARTLY, *CALLS, *REASONING, "refusal", "tool_call_id", "name"))
Place = Callable[[list[dict[str, Any]]], int]


def turns_in(cell: Any, *, pairs: bool = False) -> list[Any] | None:
    """The turns of a conversation, each an object with `role` and `content` where it has them; None if the cell is no conversation.

    Read are lists of turns in any spelling of their keys, Gemini's parts, and one object that holds a list for each key (as Parquet
    has it); with `pairs` also lists of question and answer in one object. What is no object stays in its place.
    """
    cell = parsed(cell)
    if isinstance(cell, dict):
        cell = _rows(cell)
    if not isinstance(cell, list):
        return None
    first = next((item for item in cell[:5] if isinstance(item, dict)), None)
    if first is None:
        return None
    if _is_turn(first):
        return [turn(item) if isinstance(item, dict) else item for item in cell]
    if pairs and (keys := _pair_keys(first)):
        return [spoken for item in cell for spoken in (_both(item, *keys) if isinstance(item, dict) else [item])]
    return None


def parsed(cell: Any) -> Any:
    """What a cell of a table holds as JSON text, or as Python prints a list of turns; else the cell itself."""
    if isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{", "a"):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return (python_text.turns_from(cell) or cell) if python_text.looks_like_turns(cell) else cell
    return cell


def turn(item: Mapping[str, Any]) -> dict[str, Any]:
    """A turn under the usual keys; all it says besides stays."""
    plain = _plain_keys(item)
    speaker, text = _first(plain, SPEAKER), _first(plain, TEXT)
    found = {key: value for key, value in plain.items() if key not in (speaker, text)}
    if speaker is not None:
        named = plain[speaker]
        found["role"] = named.get("role") if isinstance(named, dict) else named  # ChatGPT's author
    if text is not None:
        found["content"] = plain[text]
    return found


def answered(cell: Any, response: str, place: Place) -> Any:
    """The cell with another answer, in its own dialect. `place` says of its turns which is the trained answer, or raises."""
    if isinstance(cell, str):
        return json.dumps(answered(parsed(cell), response, place), ensure_ascii=False)
    changed = copy.deepcopy(cell)
    turns = turns_in(cell, pairs=True)
    if turns is None:
        raise ValueError("no conversation")
    at = place(turns)
    if isinstance(changed, dict):
        _answer_in_lists(changed, at, response)
    elif _is_turn(next(item for item in changed if isinstance(item, dict))):
        _answer_in_turn(changed[at], response)
    else:
        _answer_in_pairs(changed, at, response)
    return changed


def _answer_in_turn(item: dict[str, Any], response: str) -> None:
    names = {name.casefold(): name for name in item}
    lower = _first(names, TEXT)
    key = names[lower] if lower else "content"
    before = item.get(key)
    for name in SPOKEN:
        if (spelled := names.get(name)) is not None and spelled != key:
            del item[spelled]
    if lower == "parts" or isinstance(before, list):
        kinds = [part["type"] for part in before or () if isinstance(part, dict) and isinstance(part.get("text"), str) and "type" in part]
        item[key] = [{"type": kinds[0], "text": response} if kinds else {"text": response}]
    else:
        item[key] = response


def _answer_in_lists(cell: dict[str, Any], at: int, response: str) -> None:
    names = {name.casefold(): name for name in cell}
    for name in SPOKEN:
        if isinstance(held := cell.get(names.get(name, "")), list) and at < len(held):
            held[at] = None
    cell[names[_first(names, TEXT) or "content"]][at] = response


def _answer_in_pairs(cell: list[Any], at: int, response: str) -> None:
    keys = next(found for item in cell if isinstance(item, dict) and (found := _pair_keys(item)))
    seen = 0
    for item in cell:
        spoken = _both(item, *keys) if isinstance(item, dict) else [item]
        if seen <= at < seen + len(spoken):
            item[next(name for name in item if name.casefold() == keys[1])] = response
            return
        seen += len(spoken)


def _is_turn(item: Mapping[str, Any]) -> bool:
    keys = {str(key).casefold() for key in item}
    return "role" in keys or (not keys.isdisjoint(SPEAKER) and not keys.isdisjoint(TEXT))


def _rows(cell: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """An object of lists as a list of objects."""
    lists = {key: value for key, value in cell.items() if isinstance(value, list)}
    keys = {key.casefold() for key in lists}
    if keys.isdisjoint(SPEAKER) or keys.isdisjoint(TEXT) or len({len(value) for value in lists.values()}) != 1:
        return None
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def _plain_keys(item: Mapping[str, Any]) -> dict[str, Any]:
    """Known keys in small letters, unless that would cover another key."""
    return {key.casefold() if key.casefold() in _KNOWN and key.casefold() not in item else key: value for key, value in item.items()}


def _first(keys: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of the names that is filled, else the first that is there."""
    there = [name for name in names if name in keys]
    return next((name for name in there if keys[name] is not None), there[0] if there else None)


def _pair_keys(item: Mapping[str, Any]) -> tuple[str, str] | None:
    lower = {str(key).casefold(): value for key, value in item.items()}
    return next((pair for pair in PAIRS if isinstance(lower.get(pair[1]), str) and pair[0] in lower), None)


def _both(item: Mapping[str, Any], asked: str, answer: str) -> list[dict[str, Any]]:
    """A system text, a question and an answer that stand in one object; marks on training are of the answer."""
    lower = {str(key).casefold(): value for key, value in item.items()}
    marks = {key: lower[key] for key in (*MARKS, *PARTLY) if key in lower}
    if "output_with_loss" in lower:
        marks["loss"] = lower["output_with_loss"]
    spoken = [("system", lower.get("system"), {}), ("user", lower.get(asked), {}), ("assistant", lower.get(answer), marks)]
    return [{"role": role, "content": text, **extra} for role, text, extra in spoken if text not in (None, "") or role == "assistant"]
