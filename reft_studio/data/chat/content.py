"""What a turn says as one text: content, reasoning, refusal and tool calls, as they are shown, scored and trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

REASONING = ("reasoning_content", "reasoning", "thinking", "thought")
"""Keys of a turn that hold what the model thinks before it answers."""
CALLS = ("tool_calls", "function_call")
SPOKEN = ("content", *REASONING, *CALLS, "refusal")
"""Keys of a turn whose text `turn_text` holds."""
_TEXT_KEYS = ("text", "refusal", "value", "content")
_CALL_KEYS = ("functionCall", "function_call", "tool_call")
_ARGUMENTS = ("arguments", "args", "input", "parameters")
_KINDS = ("audio", "image", "video", "file", "document", "inline")


def text_of(content: Any) -> str:
    """The text of a message's content: a string, a list of parts (their texts, joined by line breaks), or nothing."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(text for text in map(part_text, content) if text is not None)
    return ""


def turn_text(turn: Mapping[str, Any]) -> str:
    """All that a turn says, in the notation of Qwen and Hermes: reasoning in <think>, each call as JSON in <tool_call>.

    A refusal that stands beside empty content (OpenAI) is the text.
    """
    text = text_of(turn.get("content"))
    if not text.strip() and isinstance(refusal := turn.get("refusal"), str):
        text = refusal
    text = _thought(next((found for key in REASONING if isinstance(found := turn.get(key), str) and found.strip()), ""), text)
    calls = turn.get("tool_calls") or turn.get("function_call") or []
    found = [call_text(call) for call in (calls if isinstance(calls, list) else [calls]) if call]
    return "\n".join([text, *found] if text else found)


def turn_shown(turn: Mapping[str, Any]) -> str:
    """`turn_text` for a person to read, with a word for each kind of part that has no text and reaches no model."""
    absent = [f"({kind} left out)" for kind in kinds_without_text(turn.get("content"))]
    text = turn_text(turn)
    return "\n".join([text, *absent] if text else absent)


def plain_turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    """The turn with all it says as its content, so that no template renders a part of it once more."""
    return {**{key: value for key, value in turn.items() if key not in SPOKEN}, "content": turn_text(turn)}


def part_text(part: Any) -> str | None:
    """The text of one part of a content; None for a picture, sound, file or anything else that is no text."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return None
    kind = part.get("type")
    if kind in ("tool_use", "tool_call"):
        return call_text(part)
    if part.get("functionResponse") or kind == "tool_result":
        answer = part.get("functionResponse") or part.get("content")
        return text_of(answer) if isinstance(answer, str | list) else _json(answer)
    thought = "\n".join(text_of(part[key]) for key in REASONING if isinstance(part.get(key), str | list))
    call = next((part[key] for key in _CALL_KEYS if part.get(key)), None)
    if thought.strip() or call is not None:
        said = _thought(thought, part["text"] if isinstance(part.get("text"), str) else "")
        return "\n".join(text for text in (said, call_text(call) if call is not None else "") if text)
    if _kind(part) != "other" and not isinstance(part.get("text"), str):
        return None
    found = next((part[key] for key in _TEXT_KEYS if part.get(key) is not None), None)
    if isinstance(found, dict):  # OpenAI's Assistants: {"text": {"value": …}}
        found = found.get("value")
    if not isinstance(found, str):
        return None
    return _thought(found, "") if part.get("thought") is True or kind in ("reasoning", "thinking") else found


def kinds_without_text(content: Any) -> list[str]:
    """What the parts are that have no text: "audio", "image", …, or "other"."""
    parts = content if isinstance(content, list) else []
    found = [_kind(part) for part in parts if part_text(part) is None]
    return list(dict.fromkeys(found))


def call_text(call: Any) -> str:
    """A call of a tool as it is trained; arguments that are JSON text are written as the JSON they hold."""
    said = call.get("function", call) if isinstance(call, dict) else call
    if isinstance(said, dict) and isinstance(said.get("name"), str):
        given: Any = next((said[key] for key in _ARGUMENTS if said.get(key) is not None), {})
        said = {"name": said["name"], "arguments": _parsed(given)}
    return f"<tool_call>\n{_json(said)}\n</tool_call>"


def _thought(reasoning: str, text: str) -> str:
    if not reasoning.strip():
        return text
    return f"<think>\n{reasoning}\n</think>" + (f"\n\n{text}" if text else "")


def _parsed(given: Any) -> Any:
    if isinstance(given, str):
        try:
            return json.loads(given)
        except (ValueError, RecursionError):
            return given
    return given


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _kind(part: Any) -> str:
    if not isinstance(part, dict):
        return "other"
    named = " ".join([str(part.get("type", "")), *(str(key) for key, value in part.items() if value is not None)]).casefold()
    return next((kind.replace("inline", "file") for kind in _KINDS if kind in named), "other")
