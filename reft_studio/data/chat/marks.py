"""Which turn is trained, and what a file says about it: marks of turns, of whole rows, and of answers nobody wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reft_studio.data.chat.content import SPOKEN
from reft_studio.data.columns import SYNONYMS, find_column, plain_name

TRAINED_WHEN_TRUE = ("loss", "train", "training", "trainable", "weight", "loss_weight", "loss_mask")
TRAINED_WHEN_FALSE = ("masked", "mask")
MARKS = (*TRAINED_WHEN_TRUE, *TRAINED_WHEN_FALSE)
"""Keys of a turn by which OpenAI (weight), Axolotl (train, training), ms-swift and XTuner (loss), and others say what is trained."""
PARTLY = ("train_detail",)
TOOLS = ("tools", "functions", "available_tools", "tool_definitions")
THOUGHTS = ("reasoning", "reasoning_content", "thinking", "cot", "complex_cot", "chain_of_thought")
ROW_MARKS = ("train", "training", "trainable", "loss", "weight")
BESIDE = frozenset((*TOOLS, *THOUGHTS, *ROW_MARKS, *SYNONYMS["system"], *SYNONYMS["wanted"], "label"))
"""Columns (plain names) that say something about training or context, whether or not a part of a row is read from them."""
_YES = ("true", "yes", "1", "1.0", "desirable", "desired", "wanted", "chosen", "good", "thumbs_up")
_NO = ("false", "no", "0", "0.0", "undesirable", "undesired", "unwanted", "rejected", "bad", "thumbs_down")


def is_unwanted(column: str) -> bool:
    """Whether a column of preference data holds the answer that is not preferred."""
    return any(word in plain_name(column) for word in ("reject", "non_preferred", "dispreferred", "unwanted", "undesirable"))


def said(value: Any) -> bool | None:
    """Yes, no, or None: of true and false, 1 and 0, and the words files use for them."""
    if isinstance(value, str):
        word = value.strip().casefold()
        return True if word in _YES else False if word in _NO else None
    return bool(value) if isinstance(value, bool | int | float) and value in (0, 1) else None


def untrained(turn: Mapping[str, Any]) -> str:
    """The mark by which a turn is context and not trained, such as "loss: false"; "" if there is none."""
    for key in TRAINED_WHEN_TRUE:
        if said(turn.get(key)) is False:
            return f"{key}: {'0' if 'weight' in key else 'false'}"
    return next((f"{key}: true" for key in TRAINED_WHEN_FALSE if said(turn.get(key)) is True), "")


def answer_place(turns: Sequence[Mapping[str, Any]]) -> int:
    """Where the trained answer stands: the last turn of the assistant that is not marked as context; -1 if there is none."""
    places = (place for place in range(len(turns) - 1, -1, -1) if turns[place].get("role") == "assistant" and not untrained(turns[place]))
    return next(places, -1)


def with_answer(turns: Sequence[Mapping[str, Any]], response: str) -> list[dict[str, Any]]:
    """The turns of a row with another trained answer: its calls, reasoning and refusal go with the old one."""
    place = answer_place(turns)
    changed = [dict(turn) for turn in turns]
    if place >= 0:
        changed[place] = {key: value for key, value in changed[place].items() if key not in SPOKEN} | {"content": response}
    return changed


def notes(turns: Sequence[Mapping[str, Any]]) -> list[str]:
    """What turns say about training that is not done."""
    found = []
    marked = [turn for turn in turns if _marked(turn)]
    if any(turn["role"] != "assistant" for turn in marked):
        found.append("a turn that is no answer is marked to be trained, which it is not")
    if sum(turn["role"] == "assistant" for turn in marked) > 1:
        found.append("several answers are marked to be trained, of which the last one is")
    if any(_between(turn.get(key)) for turn in turns for key in ("weight", "loss_weight")):
        found.append("a weight other than 0 and 1, trained as 1")
    if any(turn.get(key) for turn in turns for key in PARTLY):
        found.append("parts of a turn are marked to be trained: the whole turn is")
    return found


def _marked(turn: Mapping[str, Any]) -> bool:
    return not untrained(turn) and any(said(turn.get(key)) is True for key in TRAINED_WHEN_TRUE)


def _between(value: Any) -> bool:
    return isinstance(value, int | float) and value not in (0, 1)


def left_out(value: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
    """What stands beside a row's parts, says something about training or context, and is read by nothing."""
    found, used = [], set(columns.values())
    free = {plain_name(str(key)): cell for key, cell in value.items() if key not in used}
    if "system" not in columns and _filled(free, SYNONYMS["system"]):
        found.append("a system text beside the row is left out: choose its column as system prompt")
    if _filled(free, TOOLS):
        found.append("definitions of tools beside the conversation are not shown to the model")
    if _filled(free, THOUGHTS):
        found.append("a column of reasoning is not part of the response")
    if "wanted" not in columns and (_decided(free.get("label")) or any(said(free.get(name)) is False for name in SYNONYMS["wanted"])):
        found.append("a label is false: if it marks an unwanted answer, choose its column as wanted answer, or it is trained")
    return found


def _filled(free: Mapping[str, Any], names: Sequence[str]) -> bool:
    return any(free.get(name) not in (None, "", [], {}, "[]") for name in names)


def _decided(cell: Any) -> bool:
    """Whether a label is false, and not a class called 0."""
    return cell is False or (isinstance(cell, str) and cell.strip().casefold() == "false")


def row_untrained(value: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """The mark by which a whole row is not to be trained, such as "train: false"; "" if there is none."""
    used = set(columns.values())
    for key, cell in value.items():
        name = plain_name(str(key))
        if name not in ROW_MARKS or key in used:
            continue
        # a loss of 0.0 was measured, one that is false was decided
        if said(cell) is False and (name != "loss" or isinstance(cell, bool)):
            return f"{name}: {'0' if name == 'weight' else 'false'}"
    return ""


def wanted_column(columns: Sequence[str], values: Sequence[Mapping[str, Any]], response: str | None, taken: set[str]) -> str | None:
    """The column of KTO data that says whether an answer is wanted; `response` is the column of the answer, None in a conversation."""
    if (column := find_column("wanted", columns, taken=taken)) is not None:
        return column
    label = next((column for column in columns if plain_name(column) == "label" and column not in taken), None)
    if label is None or (response is not None and plain_name(response) != "completion"):
        return None
    cells = [value[label] for value in values if value.get(label) not in (None, "")]
    words = {str(cell).strip().casefold() for cell in cells}
    return label if words and words <= {"true", "false"} else None
