"""Rows as chats, as they are trained: which turn is learned, which is read before it, and which is left out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from reft_studio.data.chat.content import turn_shown
from reft_studio.data.chat.marks import answer_place, untrained
from ui.text import count, mask, number, show

TURN_LIMIT = 1200
"""Characters shown of one turn in a preview."""


def chats(rows: Iterable[Mapping[str, Any]], *, hide_all: bool = False) -> dict[str, Any]:
    """Rows as rendered chats with the trained turn marked; rows known to be harmful, or flagged, are masked until revealed."""
    return {"rows": [_chat(row, position, hide_all=hide_all) for position, row in enumerate(rows)]}


def _chat(row: Mapping[str, Any], position: int, *, hide_all: bool) -> dict[str, Any]:
    row_id = row.get("row_id", position)
    harmful = row.get("known_harmful")
    tags = [{"text": show(row[key], 40), "kind": "quiet"} for key in ("origin", "category") if row.get(key)]
    if row.get("score") is not None:
        tags.append({"text": f"score {number(row['score'])}", "kind": "flag" if row.get("flagged") else "quiet"})
    if harmful:
        tags.append({"text": "known harmful", "kind": "flag"})
    turns = _turns(row)
    trained = answer_place(turns)
    return {
        "id": row_id,
        "name": f"Row {count(row_id)}",
        "tags": tags,
        "hide": bool(harmful or row.get("flagged")) or hide_all,
        "turns": [_turn(turn, _part_of(turn, place, trained), out=-1 < trained < place) for place, turn in enumerate(turns)],
    }


def _turns(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Messages of a row; from the file they are JSON text, from a preview a list."""
    messages = row.get("messages")
    if isinstance(messages, str):
        messages = json.loads(messages)
    if not messages:
        messages = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]
    return [dict(turn) for turn in messages if isinstance(turn, dict)]


def _part_of(turn: Mapping[str, Any], place: int, trained: int) -> str:
    """What becomes of a turn in training: "trained"; a word for what a person could mistake for it; "" for plain context."""
    if place == trained:
        return "trained"
    if mark := untrained(turn):
        return mark
    if trained >= 0 and place > trained:
        return "left out"
    return "context" if turn["role"] == "assistant" else ""


def _turn(turn: Mapping[str, Any], part: str, *, out: bool) -> dict[str, Any]:
    text = turn_shown(turn)
    shown, short = (show(text, TURN_LIMIT), mask(text)) if text else ("(empty)", "(empty)")
    trained = part == "trained"
    return {
        "role": show(turn.get("role", ""), 20),
        "text": shown,
        "short": short,
        "trained": trained,
        "note": "" if trained else part,
        "out": out,
    }
