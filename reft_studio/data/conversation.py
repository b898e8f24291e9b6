"""Conversations in the dialects of training files, brought to one form: a list of {role, content}."""

from __future__ import annotations

import re
from typing import Any

from reft_studio.data.templates import text_of

ROLES = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "function": "tool",
    "ipython": "tool",
    "observation": "tool",
    "function_call": "assistant",
}


class UnusableRowError(ValueError):
    """A row that cannot become prompt and response; caught by the importer, which sets the row aside."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def is_conversation(value: Any) -> bool:
    """Whether a value is a list whose first object looks like a turn."""
    if not isinstance(value, list):
        return False
    first = next((item for item in value[:5] if isinstance(item, dict)), None)
    return first is not None and (("role" in first and "content" in first) or ("from" in first and "value" in first) or "role" in first)


def turns_of(value: list[Any]) -> list[dict[str, Any]]:
    """Turns as {role, content, ...}: ShareGPT keys and role names translated, everything else as uploaded.

    Raises UnusableRowError, naming the turn, if one is no object or has no known role.
    """
    turns: list[dict[str, Any]] = []
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, dict):
            raise UnusableRowError("a turn is no object", f"Turn {number} must be an object with role and content.")
        named = turn.get("role") if "role" in turn else turn.get("from")
        role = ROLES.get(named.strip().casefold()) if isinstance(named, str) else None
        if role is None:
            raise UnusableRowError("a turn has no known role", f"Turn {number}: the role must be one of system, user, assistant, tool.")
        content = turn.get("content") if "content" in turn else turn.get("value")
        if isinstance(content, bool | int | float):
            content = str(content)
        extra = {key: item for key, item in turn.items() if key not in ("role", "from", "content", "value") and item is not None}
        _check_depth([extra, content])
        turns.append({"role": role, "content": content if isinstance(content, str | list) else "", **extra})
    return turns


def _check_depth(value: Any, *, limit: int = 64) -> None:
    """Refuse nesting that could not be written out again."""
    level = [value]
    for _ in range(limit):
        level = [item for part in level if isinstance(part, dict | list) for item in (part.values() if isinstance(part, dict) else part)]
        if not level:
            return
    raise UnusableRowError("a turn is nested too deeply", f"Keep the nesting of a turn below {limit} levels.")


def prompt_and_response(turns: list[dict[str, Any]]) -> tuple[str, str, list[str]]:
    """The last user turn before the last trained answer, that answer ("" if there is none), and warnings.

    An assistant turn with weight 0 is not trained (OpenAI's convention) and is no answer. Raises UnusableRowError
    if no user speaks.
    """
    answers = [place for place, turn in enumerate(turns) if turn["role"] == "assistant" and turn.get("weight") != 0]
    end = answers[-1] if answers else len(turns)
    questions = [place for place, turn in enumerate(turns[:end]) if turn["role"] == "user"]
    if not questions:
        raise UnusableRowError("no user turn", "Give the conversation a user turn before the last answer.")
    warnings = []
    if answers and any(turn["role"] == "user" for turn in turns[end:]):
        warnings.append("turns after the last answer, which train nothing")
    if any(_has_other_parts(turn["content"]) for turn in turns):
        warnings.append("parts that are no text (pictures, sound) are left out of prompt and response")
    return text_of(turns[questions[-1]]["content"]), text_of(turns[end]["content"]) if answers else "", warnings


def _has_other_parts(content: Any) -> bool:
    return isinstance(content, list) and any(isinstance(part, dict) and not isinstance(part.get("text"), str) for part in content)


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
