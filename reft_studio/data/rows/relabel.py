"""The answer of an uploaded row replaced in place, so that a relabelled row goes back into the file it came from."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from reft_studio.data.chat.conversation import is_conversation, role_of
from reft_studio.data.chat.dialects import Place, answered
from reft_studio.data.chat.marks import answer_place
from reft_studio.data.rows.interpret import Interpreter, unfold_preference
from reft_studio.errors import DataError

_NO_PLACE = "A row of plain text has no separate answer that could be replaced. Remove the row, or keep it as it is."


def with_response(value: Any, reader: Interpreter, response: str) -> dict[str, Any]:
    """A copy of the row whose last trained answer is `response`; everything else stays.

    Raises DataError if the row has no place for an answer.
    """
    if not isinstance(value, dict):
        raise DataError(_NO_PLACE)
    changed = copy.deepcopy(value)
    mapping = reader.mapping_of(unfold_preference(value))
    columns, place = mapping.columns, _place_of(mapping.roles)
    if isinstance(changed.get("preferred_output"), list) and "messages" not in changed:
        changed["preferred_output"] = answered(changed["preferred_output"], response, place)
    elif "messages" in columns:
        name = columns["messages"]
        changed[name] = answered(changed[name], response, place)
    elif "response" in columns:
        name = columns["response"]
        if is_conversation(changed.get(name)):
            changed[name] = answered(changed[name], response, place)
        elif isinstance(changed.get(name), dict):  # one turn
            changed[name] = answered([changed[name]], response, place)[0]
        else:
            changed[name] = response
    else:
        raise DataError(_NO_PLACE)
    return changed


def _place_of(roles: Mapping[str, str]) -> Place:
    """Finds the trained answer among turns; raises DataError if there is none."""

    def place(turns: list[dict[str, Any]]) -> int:
        found = answer_place([{**turn, "role": role_of(turn.get("role"), roles)} for turn in turns])
        if found < 0:
            raise DataError("A conversation without an answer cannot be relabelled. Remove the row, or keep it as it is.")
        return found

    return place
