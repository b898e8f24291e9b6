"""Conversations in the dialects of training files, brought to one form: a list of {role, content}."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from reft_studio.data.chat.content import kinds_without_text, part_text, turn_text
from reft_studio.data.chat.dialects import turn, turns_in
from reft_studio.data.chat.marks import answer_place, notes, untrained
from reft_studio.data.columns import looks_like_names

ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "ai", "llm"), "assistant"),
    # who answers in collections of chats with other models
    **dict.fromkeys(("bing", "bard", "claude", "palm", "gemini", "gpt4", "gpt-4", "gpt-3.5", "llama", "vicuna", "copilot"), "assistant"),
    **dict.fromkeys(("function_call", "function-call", "tool_call", "tool-call"), "assistant"),
    "system": "system",
    "developer": "developer",
    **dict.fromkeys(("tool", "function", "ipython", "observation", "tool_response", "tool_result", "function_response"), "tool"),
    "function-response": "tool",
}
SPEAKERS = ("user", "assistant", "system", "tool")
"""What a speaker that nobody knows can be declared to be."""


class UnusableRowError(ValueError):
    """A row that cannot become prompt and response; caught by the importer, which sets the row aside."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def is_conversation(value: Any) -> bool:
    """Whether a value is a conversation, in any dialect that needs no column name to be told from other lists."""
    return isinstance(value, list | dict) and turns_in(value) is not None


def turns_of(value: list[Any], roles: Mapping[str, str] = MappingProxyType({})) -> list[dict[str, Any]]:
    """Turns as {role, content, ...}: keys and role names translated, everything else as uploaded.

    `roles` says what speakers are that are not in `ROLES`, by their names in small letters. Raises UnusableRowError, naming the turn,
    if one is no object, its speaker is not known, or its content is neither text nor parts.
    """
    turns: list[dict[str, Any]] = []
    for number, item in enumerate(value, start=1):
        if not isinstance(item, dict):
            raise UnusableRowError("a turn is no object", f"Turn {number} must be an object with role and content.")
        said = turn(item)
        role, content = role_of(said.get("role"), roles), said.get("content")
        if role is None:
            raise _unknown(said.get("role"), number)
        extra = {key: item for key, item in said.items() if key not in ("role", "content") and item is not None}
        _check_depth([extra, content])
        turns.append({"role": role, "content": _content(content, role, number), **extra})
    return turns


def role_of(named: Any, roles: Mapping[str, str] = MappingProxyType({})) -> str | None:
    """What a speaker is; None if nobody knows."""
    name = named.strip().casefold() if isinstance(named, str) else ""
    return roles.get(name) or ROLES.get(name)


def speaker_name(named: Any) -> str:
    """A speaker as it may stand in a message; "" if it may be the text of a row."""
    name = named.strip() if isinstance(named, str) else ""
    return name if len(name) <= 40 and name.isprintable() and looks_like_names([name]) else ""


def _unknown(named: Any, number: int) -> UnusableRowError:
    if (name := speaker_name(named)) == "":
        return UnusableRowError("a turn has no known role", f"Turn {number}: the role must be one of {', '.join(SPEAKERS)}.")
    hint = (
        f"Turn {number}. Say once for the file who that is: under 'Who speaks' of the import form, or with --role-map '{name}=assistant'."
    )
    return UnusableRowError(f"the speaker '{name}' is not known", hint)


def _content(content: Any, role: str, number: int) -> str | list[Any]:
    if content is None:
        return ""
    if isinstance(content, str | list):
        return content
    if isinstance(content, bool | int | float):
        return str(content)
    if isinstance(content, dict):
        if isinstance(content.get("parts"), list):  # ChatGPT's exports
            return list(content["parts"])
        if part_text(content) is not None:
            return [content]
        if role == "tool":
            return json.dumps(content, ensure_ascii=False, default=str)
    kind = "an object" if isinstance(content, dict) else f"a {type(content).__name__}"
    raise UnusableRowError(
        f"the content of a turn is {kind}, not text", f"Turn {number}: content must be text, or a list of parts with text."
    )


def _check_depth(value: Any, *, limit: int = 64) -> None:
    """Refuse nesting that could not be written out again."""
    level = [value]
    for _ in range(limit):
        level = [item for part in level if isinstance(part, dict | list) for item in (part.values() if isinstance(part, dict) else part)]
        if not level:
            return
    raise UnusableRowError("a turn is nested too deeply", f"Keep the nesting of a turn below {limit} levels.")


@dataclass(frozen=True)
class ConversationTexts:
    """What is judged and what is trained of a conversation, as text; and what a person should know of it."""

    prompt: str
    response: str
    warnings: list[str]
    why_no_prompt: str = "empty prompt"
    """What to say if the prompt shows nothing."""
    why_no_response: str = "empty response"


def prompt_and_response(turns: list[dict[str, Any]]) -> ConversationTexts:
    """The last user turn before the trained answer, and that answer ("" if there is none).

    The trained answer is the last one that the file does not mark as context. Raises UnusableRowError if no user speaks.
    """
    place = answer_place(turns)
    end = place if place >= 0 else len(turns)
    questions = [number for number, said in enumerate(turns[:end]) if said["role"] == "user"]
    if not questions:
        raise UnusableRowError("no user turn", "Give the conversation a user turn before the last answer.")
    warnings = notes(turns)
    if place >= 0 and any(said["role"] == "user" for said in turns[end:]):
        warnings.append("turns after the last answer, which train nothing")
    if any(kinds_without_text(said["content"]) for said in turns):
        warnings.append("parts that are no text (pictures, sound) are left out of prompt and response")
    question = turns[questions[-1]]
    return ConversationTexts(
        turn_text(question),
        turn_text(turns[place]) if place >= 0 else "",
        warnings,
        _without_text("prompt", question),
        _without_text("response", turns[place]) if place >= 0 else _unanswered(turns),
    )


def _without_text(part: str, said: Mapping[str, Any]) -> str:
    kinds = kinds_without_text(said["content"])
    return f"the {part} has no text, only {', '.join(kinds)}" if kinds else f"empty {part}"


def _unanswered(turns: list[dict[str, Any]]) -> str:
    context = [mark for said in turns if said["role"] == "assistant" and (mark := untrained(said))]
    return f"every answer is marked as not trained ({context[-1]})" if context else "empty response"


def user_turns(turns: list[dict[str, Any]]) -> int:
    """How often the user speaks."""
    return sum(turn["role"] == "user" for turn in turns)


_MARKS = [
    # (pattern of one speaker's mark, role by the mark's name)
    re.compile(r"<\|im_start\|>\s*(system|user|assistant|tool)\s*\n|<\|im_end\|>\s*"),
    re.compile(r"<\|start_header_id\|>\s*(system|user|assistant)\s*<\|end_header_id\|>\s*|<\|eot_id\|>\s*|<\|begin_of_text\|>"),
    re.compile(r"<start_of_turn>\s*(user|model)\s*\n|<end_of_turn>\s*|<bos>"),
    re.compile(r"<\|(system|user|assistant)\|>\s*|</s>\s*"),
    re.compile(r"(?:^|\n)\s*#{2,3} *(Instruction|Input|Response|Human|Assistant|User|System) *:\s*"),
    re.compile(r"(?:^|\n)\s*(Human|Assistant|User|System) *:[ \t]*"),
]
_SPEAKERS = {"instruction": "user", "input": "user", "response": "assistant", **ROLES}
_INST = re.compile(r"<s>\s*|</s>\s*")


def turns_of_transcript(text: str) -> list[dict[str, Any]] | None:
    """Turns of a conversation written as one text with marks (ChatML, Llama, Gemma, Alpaca, Human/Assistant), else None."""
    if "[INST]" in text and "[/INST]" in text:
        return _inst_turns(text)
    for marks in _MARKS:
        found = [match for match in marks.finditer(text) if match[1]]
        roles = {_SPEAKERS[match[1].casefold()] for match in found}
        if {"user", "assistant"} <= roles:
            return _cut(text, marks)
    return None


def _cut(text: str, marks: re.Pattern[str]) -> list[dict[str, Any]]:
    """The text between marks, each under the mark before it; an Alpaca input joins its instruction."""
    turns: list[dict[str, Any]] = []
    role, start = "", 0
    for match in [*marks.finditer(text), None]:
        part = text[start : match.start() if match else len(text)].strip()
        if role and (part or role == "assistant"):
            if turns and turns[-1]["role"] == role == "user":
                turns[-1]["content"] += f"\n{part}"
            else:
                turns.append({"role": role, "content": part})
        if match:
            role, start = _SPEAKERS[match[1].casefold()] if match[1] else "", match.end()
    return turns


def _inst_turns(text: str) -> list[dict[str, Any]]:
    """Turns of the Llama 2 and Mistral notation: [INST] question [/INST] answer."""
    turns: list[dict[str, Any]] = []
    for block in _INST.sub("", text).split("[INST]")[1:]:
        question, _, answer = block.partition("[/INST]")
        system = re.search(r"<<SYS>>(.*?)<</SYS>>", question, re.DOTALL)
        if system:
            turns.append({"role": "system", "content": system[1].strip()})
            question = question.replace(system[0], "")
        turns += [{"role": "user", "content": question.strip()}, {"role": "assistant", "content": answer.strip()}]
    return turns
