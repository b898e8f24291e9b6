"""The answer of an uploaded row replaced in place, so that a relabelled row goes back into the file it came from."""

from __future__ import annotations

import copy
import json
from typing import Any

from reft_studio.data.conversation import ROLES, is_conversation
from reft_studio.data.interpret import Interpreter, unfold_preference
from reft_studio.errors import DataError

_NO_PLACE = "A row of plain text has no separate answer that could be replaced. Remove the row, or keep it as it is."


def with_response(value: Any, reader: Interpreter, response: str) -> dict[str, Any]:
    """A copy of the row whose last trained answer is `response`; everything else stays.

    Raises DataError if the row has no place for an answer.
    """
    if not isinstance(value, dict):
        raise DataError(_NO_PLACE)
    changed = copy.deepcopy(value)
    columns = reader.mapping_of(unfold_preference(value)).columns
    if isinstance(changed.get("preferred_output"), list) and "messages" not in changed:
        _answer(changed["preferred_output"], response)
    elif "messages" in columns:
        name = columns["messages"]
        if isinstance(changed[name], str):  # JSON text in a CSV cell
            turns = json.loads(changed[name])
            _answer(turns, response)
            changed[name] = json.dumps(turns, ensure_ascii=False)
        else:
            _answer(changed[name], response)
    elif "response" in columns:
        name = columns["response"]
        if is_conversation(changed.get(name)):
            _answer(changed[name], response)
        else:
            changed[name] = response
    else:
        raise DataError(_NO_PLACE)
    return changed


def _answer(turns: list[Any], response: str) -> None:
    """Replace the text of the last trained assistant turn."""
    for turn in reversed(turns):
        named = turn.get("role", turn.get("from")) if isinstance(turn, dict) else None
        if isinstance(named, str) and ROLES.get(named.strip().casefold()) == "assistant" and turn.get("weight") != 0:
            turn["content" if "content" in turn or "role" in turn else "value"] = response
            return
    raise DataError("A conversation without an answer cannot be relabelled. Remove the row, or keep it as it is.")
