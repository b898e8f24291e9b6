"""What one record of a file means: who speaks, what is trained, what is context, and what is set aside and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reft_studio.data.chat.content import part_text, turn_shown, turn_text
from reft_studio.data.chat.marks import answer_place
from reft_studio.data.dataset import full_row, open_dataset
from reft_studio.data.reading.readers import import_file, preview
from reft_studio.data.rows.fast_rows import FastRows
from reft_studio.data.rows.interpret import Interpreter, guess_file
from reft_studio.data.rows.mapping import Mapping
from reft_studio.data.rows.quarantine import MOST_REASONS, Problem, Quarantine
from reft_studio.data.rows.record import RawRecord
from reft_studio.data.rows.relabel import with_response
from reft_studio.data.rows.row_columns import RowColumns
from reft_studio.data.writing.export import export_kept
from reft_studio.errors import DataError, SpecError
from reft_studio.workspace import Workspace

USER, ANSWER = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
CALL = {"id": "c", "type": "function", "function": {"name": "tide", "arguments": '{"harbour": "Cuxhaven"}'}}
CALL_TEXT = '<tool_call>\n{"name": "tide", "arguments": {"harbour": "Cuxhaven"}}\n</tool_call>'
TOLD = {"from": "human", "value": "Q"}


def _read(value: dict[str, Any], mapping: Mapping | None = None, role: Any = "user") -> Any:
    chosen = guess_file([value]).mapping
    if mapping is not None:
        chosen = mapping if mapping.columns else chosen.model_copy(update={"roles": mapping.roles})
    return Interpreter(chosen, role, mapping is None or not mapping.columns).read(RawRecord(0, 1, value, b"", 0))


def _reasons(reading: Any) -> list[str]:
    return [problem.reason for problem in reading.problems]


def _said(reading: Any) -> list[tuple[str, str]]:
    return [(turn["role"], turn_text(turn)) for turn in reading.row["messages"]]


@pytest.mark.parametrize(
    "value",
    [
        {"contents": [{"role": "user", "parts": [{"text": "Q"}]}, {"role": "model", "parts": [{"text": "A"}]}]},
        {"Messages": [{"Role": "User", "Content": "Q"}, {"Role": "Assistant", "Content": "A"}]},
        {"conversation": [{"input": "Q", "output": "A"}]},
        {"conversation": [{"Human": "Q", "Assistant": "A"}]},
        {"messages": {"role": ["user", "assistant"], "content": ["Q", "A"]}},
        {"conversations": {"from": ["human", "gpt"], "value": ["Q", "A"]}},
        {"dialogue": [{"speaker": "user", "text": "Q"}, {"speaker": "bot", "text": "A"}]},
        {
            "chat": [
                {"author": {"role": "user"}, "content": {"parts": ["Q"]}},
                {"author": {"role": "assistant"}, "content": {"parts": ["A"]}},
            ]
        },
        {"messages": '{"role": ["user", "assistant"], "content": ["Q", "A"]}'},
        {"messages": [USER, {"role": "assistant", "content": None, "refusal": "A"}]},
        {"messages": [USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "A"}]}]},
        {"messages": [USER, {"role": "assistant", "content": {"text": "A"}}]},
        {"prompt": "Q", "chosen": {"role": "assistant", "content": "A"}, "rejected": {"role": "assistant", "content": "B"}},
        {"rejected": [USER, {"role": "assistant", "content": "B"}], "chosen": [USER, ANSWER]},
        {"prompt": "Q", "completion": [USER, ANSWER]},
        {"instruction": None, "input": "Q", "output": "A"},
        {"instruction": " ", "input": "Q", "output": "A"},
    ],
)
def test_a_conversation_is_read_in_every_dialect(value: dict[str, Any]) -> None:
    reading = _read(value)
    assert reading.problems == []
    assert (reading.row["prompt"], reading.row["response"], _said(reading)) == ("Q", "A", [("user", "Q"), ("assistant", "A")])


@pytest.mark.parametrize(
    "value",
    [
        {"system": "S", "messages": [USER, ANSWER]},
        {"system": "S", "conversations": [TOLD, {"from": "gpt", "value": "A"}]},
        {"system": [{"type": "text", "text": "S"}], "messages": [USER, ANSWER]},
        {"systemInstruction": {"parts": [{"text": "S"}]}, "contents": [{"role": "user", "parts": [{"text": "Q"}]}, ANSWER]},
        {"conversation": [{"system": "S", "input": "Q", "output": "A"}]},
        {"system": "S", "prompt": [USER], "completion": [ANSWER]},
        {"system": "S", "messages": [{"role": "system", "content": "S"}, USER, ANSWER]},
    ],
)
def test_a_system_text_beside_the_turns_is_the_first_turn(value: dict[str, Any]) -> None:
    reading = _read(value)
    assert (_said(reading), reading.problems) == ([("system", "S"), ("user", "Q"), ("assistant", "A")], [])


def test_a_system_text_that_cannot_be_honoured_is_said() -> None:
    two = _read({"system": "S", "messages": [{"role": "system", "content": "other"}, USER, ANSWER]})
    assert _reasons(two) == ["a system text beside a conversation that begins with another one is left out"]
    by_hand = Mapping(format="openai", columns={"messages": "messages"})
    assert _reasons(_read({"system": "S", "messages": [USER, ANSWER]}, by_hand)) == [
        "a system text beside the row is left out: choose its column as system prompt"
    ]


@pytest.mark.parametrize(
    "answer",
    [
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "content": None, "function_call": CALL["function"]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "tide", "input": {"harbour": "Cuxhaven"}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "tide", "args": {"harbour": "Cuxhaven"}}}]},
    ],
)
def test_a_call_of_a_tool_is_the_answer_that_is_trained_and_shown(answer: dict[str, Any]) -> None:
    reading = _read({"messages": [USER, answer]})
    assert (reading.row["response"], turn_text(reading.row["messages"][1]), reading.problems) == (CALL_TEXT, CALL_TEXT, [])


def test_text_before_a_call_stays_and_tools_beside_the_row_are_said() -> None:
    reading = _read({"messages": [USER, {**ANSWER, "tool_calls": [CALL]}], "tools": [{"type": "function"}]})
    assert reading.row["response"] == f"A\n{CALL_TEXT}"
    assert _reasons(reading) == ["definitions of tools beside the conversation are not shown to the model"]


@pytest.mark.parametrize(
    "answer",
    [
        {**ANSWER, "reasoning_content": "R"},
        {**ANSWER, "thinking": "R"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "R"}, "", {"type": "text", "text": "A"}]},
        {"role": "model", "parts": [{"text": "R", "thought": True}, "", {"text": "A"}]},
    ],
)
def test_reasoning_is_read_as_part_of_the_answer(answer: dict[str, Any]) -> None:
    assert _read({"messages": [USER, answer]}).row["response"] == "<think>\nR\n</think>\n\nA"


def test_a_column_of_reasoning_beside_the_response_is_said() -> None:
    assert _reasons(_read({"question": "Q", "Complex_CoT": "R", "response": "A"})) == ["a column of reasoning is not part of the response"]


@pytest.mark.parametrize(
    ("mark", "shown"),
    [
        ({"loss": False}, "loss: false"),
        ({"train": False}, "train: false"),
        ({"training": "false"}, "training: false"),
        ({"weight": 0}, "weight: 0"),
        ({"weight": 0.0}, "weight: 0"),
        ({"masked": True}, "masked: true"),
        ({"Loss": False}, "loss: false"),
    ],
)
def test_the_last_turn_that_is_not_marked_as_context_is_the_answer(mark: dict[str, Any], shown: str) -> None:
    draft = {"role": "assistant", "content": "draft", **mark}
    reading = _read({"messages": [USER, ANSWER, {"role": "user", "content": "Q2"}, draft]})
    assert (reading.row["prompt"], reading.row["response"]) == ("Q", "A")
    assert answer_place(json.loads(full_row(reading.row, 0)["messages"])) == 1
    alone = _read({"messages": [USER, draft]})
    assert (alone.row, _reasons(alone)) == (None, [f"every answer is marked as not trained ({shown})"])


def test_a_mark_that_says_nothing_changes_nothing() -> None:
    for mark in ({"loss": None}, {"loss": True}, {"weight": 1}, {"loss": 0.73}, {"masked": False}):
        assert _read({"messages": [USER, ANSWER, USER, {"role": "assistant", "content": "B", **mark}]}).row["response"] == "B"


@pytest.mark.parametrize(
    ("turns", "warning"),
    [
        ([{**USER, "loss": True}, ANSWER], "a turn that is no answer is marked to be trained, which it is not"),
        (
            [USER, {**ANSWER, "loss": True}, USER, {**ANSWER, "loss": True}],
            "several answers are marked to be trained, of which the last one is",
        ),
        ([USER, {**ANSWER, "weight": 0.5}], "a weight other than 0 and 1, trained as 1"),
        ([USER, {**ANSWER, "train_detail": [{"begin_offset": 0}]}], "parts of a turn are marked to be trained: the whole turn is"),
    ],
)
def test_a_mark_that_cannot_be_honoured_is_said_of_the_row(turns: list[dict[str, Any]], warning: str) -> None:
    assert _reasons(_read({"messages": turns})) == [warning]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"prompt": "Q", "completion": "A", "label": False}, "an unwanted answer (label: false)"),
        ({"prompt": [USER], "completion": [ANSWER], "label": False}, "an unwanted answer (label: false)"),
        ({"messages": [USER, ANSWER], "label": False}, "an unwanted answer (label: false)"),
        ({"instruction": "Q", "output": "A", "kto_tag": False}, "an unwanted answer (kto_tag: false)"),
        ({"prompt": "Q", "completion": "A", "label": "False"}, "an unwanted answer (label: false)"),
        ({"prompt": "Q", "response": "A", "train": False}, "the row is marked as not to be trained (train: false)"),
        ({"messages": [USER, ANSWER], "weight": 0}, "the row is marked as not to be trained (weight: 0)"),
    ],
)
def test_an_unwanted_answer_is_set_aside_and_never_trained(value: dict[str, Any], reason: str) -> None:
    reading = _read(value)
    assert (reading.row, _reasons(reading)) == (None, [reason])
    flag = next(key for key in value if key in ("label", "kto_tag", "train", "weight"))
    assert _read({**value, flag: True}).row["response"] == "A"


def test_a_label_that_may_be_one_of_wanting_is_warned_of_and_can_be_chosen() -> None:
    value = {"prompt": "Q", "response": "A", "label": False}
    assert "if it marks an unwanted answer" in _reasons(_read(value))[0]
    chosen = Mapping(format="pairs", columns={"prompt": "prompt", "response": "response", "wanted": "label"})
    assert _read(value, chosen).row is None
    assert _reasons(_read({**value, "label": 0})) == []  # a class, as of SST-2


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"messages": [USER, {"role": "oracle", "content": "A"}]}, "the speaker 'oracle' is not known"),
        ({"messages": [USER, {"role": "This is a whole sentence of a row.", "content": "A"}]}, "a turn has no known role"),
        ({"messages": [USER, {"role": "assistant", "content": {"a": 1}}]}, "the content of a turn is an object, not text"),
        (
            {"messages": [USER, {"role": "assistant", "content": [{"type": "audio", "audio": {"id": "x"}}]}]},
            "the response has no text, only audio",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, ANSWER]},
            "the prompt has no text, only image",
        ),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "empty response"),
        ({"prompt": {"text": "Q"}, "response": "A"}, "the prompt is an object"),
    ],
)
def test_empty_is_said_only_of_what_is_empty(value: dict[str, Any], reason: str) -> None:
    reading = _read(value)
    assert (reading.row, _reasons(reading)) == (None, [reason])


def test_an_object_is_named_by_its_keys() -> None:
    (problem,) = _read({"prompt": {"body": "Q", "model": "m"}, "response": "A"}).problems
    assert problem.hint == "The prompt must be text, and it has the keys body, model."


def test_a_speaker_nobody_knows_is_declared_once_for_the_file(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "talks.json"
    rows = [{"conversations": [TOLD, {"from": name, "value": "A"}]} for name in ("gpt", "Oracle", "gpt")]
    path.write_text(json.dumps(rows))
    report = import_file(workspace, path)
    assert (report.rows, report.reasons) == (2, {"the speaker 'Oracle' is not known": 1})
    assert preview(path).speakers == ["Oracle"]
    declared = Mapping(roles={"Oracle": "assistant"})
    seen, report = preview(path, declared), import_file(workspace, path, mapping=declared)
    assert (len(seen.rows), seen.problems, seen.speakers, report.rows, report.reasons) == (3, [], ["Oracle"], 3, {})
    dataset = open_dataset(workspace, report.dataset_id)
    export_kept(dataset, {1}, tmp_path / "kept.json", responses={1: "new"})
    assert json.loads((tmp_path / "kept.json").read_text())[0]["conversations"][1] == {"from": "Oracle", "value": "new"}


def test_a_speaker_can_only_be_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": [USER, ANSWER]}))
    with pytest.raises(SpecError, match=r"declared to be 'king'\. Choose one of: user, assistant, system, tool"):
        preview(path, Mapping(roles={"bing": "king"}))


def test_a_file_with_a_speaker_for_every_row_fills_no_memory_with_reasons(tmp_path: Path) -> None:
    with Quarantine(tmp_path / "q.parquet") as kept:
        for number in range(MOST_REASONS + 50):
            kept.add(Problem(number, "error", f"the speaker '{number}' is not known"))
    assert len(kept.errors) == MOST_REASONS + 1 and sum(kept.errors.values()) == MOST_REASONS + 50


DIALECTS: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
    "role and content": lambda q, a: {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]},
    "from and value": lambda q, a: {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]},
    "Gemini": lambda q, a: {"contents": [{"role": "user", "parts": [{"text": q}]}, {"role": "model", "parts": [{"text": a}]}]},
    "capitals": lambda q, a: {"Messages": [{"Role": "User", "Content": q}, {"Role": "Assistant", "Content": a}]},
    "pairs of turns": lambda q, a: {"conversation": [{"system": "S", "input": q, "output": a}]},
    "lists": lambda q, a: {"messages": {"role": ["user", "assistant"], "content": [q, a]}},
    "typed parts": lambda q, a: {
        "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": [{"type": "text", "text": a}]}]
    },
    "an object": lambda q, a: {"prompt": q, "chosen": {"role": "assistant", "content": a}},
    "JSON text": lambda q, a: {"messages": json.dumps([{"role": "user", "content": q}, {"role": "assistant", "content": a}])},
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_relabelled_row_keeps_its_dialect(dialect: str) -> None:
    value = DIALECTS[dialect]("Q", "A")
    reader = Interpreter(guess_file([value]).mapping, "user", True)
    assert with_response(value, reader, "No.") == DIALECTS[dialect]("Q", "No.")


def test_a_relabelled_call_becomes_the_answer_and_context_stays() -> None:
    draft = {"role": "assistant", "content": "draft", "loss": False}
    value = {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL], "loss": True}, USER, draft]}
    changed = with_response(value, Interpreter(guess_file([value]).mapping, "user", True), "No.")
    assert changed == {"messages": [USER, {"role": "assistant", "content": "No.", "loss": True}, USER, draft]}
    context = {"messages": [USER, draft]}
    with pytest.raises(DataError, match="without an answer"):
        with_response(context, Interpreter(guess_file([context]).mapping, "user", True), "No.")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_kept_rows_of_every_dialect_go_out_as_they_came(dialect: str, workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(DIALECTS[dialect](f"Q{number}", f"A{number}")) + "\n" for number in range(3)]
    path.write_text("".join(lines))
    dataset = open_dataset(workspace, import_file(workspace, path).dataset_id)
    export_kept(dataset, {0, 2}, tmp_path / "kept.jsonl")
    assert (tmp_path / "kept.jsonl").read_text() == lines[0] + lines[2]


def test_what_reaches_no_model_is_named_where_a_row_is_shown() -> None:
    assert (
        turn_shown({"role": "user", "content": [{"type": "text", "text": "Q"}, {"type": "input_audio", "input_audio": {}}]})
        == "Q\n(audio left out)"
    )


MARKED = [{}, {"loss": False}, {"loss": True}, {"weight": 0}, {"weight": 1}, {"masked": True}, {"loss": None}]
ROWS: list[dict[str, Any]] = [
    *(make("Q", "A") for make in DIALECTS.values()),
    *({"messages": [USER, ANSWER, USER, {**ANSWER, **mark}], "id": 1} for mark in MARKED),
    *({"messages": [USER, ANSWER], "system": system} for system in ("S", "", None, ["S"], 7)),
    *(
        {"messages": [first, USER, ANSWER], "system": "S"}
        for first in ({"role": "system", "content": "S"}, {"role": "developer", "content": "D"})
    ),
    *({"messages": [USER, ANSWER], key: 1} for key in ("tools", "reasoning", "train", "weight", "loss", "label", "thing")),
    *({"messages": [USER, ANSWER], "label": label} for label in (True, False, None, "true", 0)),
    *({"prompt": "Q", "completion": "A", "label": label} for label in (True, False, None, "false", 1)),
    *({"instruction": asked, "input": given, "output": "A"} for asked in ("Q", "", " ", None) for given in ("more", "", None)),
    {"conversations": [TOLD, {"from": "bing", "value": "A"}]},
    {"conversations": [TOLD, {"from": "oracle", "value": "A"}]},
    {"conversations": [TOLD, {"from": "wizard", "value": "A"}]},
    {"messages": [ANSWER, USER, ANSWER, USER]},
]


@pytest.mark.parametrize("role", ["user", "benchmark"])
@pytest.mark.parametrize("value", ROWS)
def test_the_quick_way_gives_the_row_of_the_careful_way_or_leaves_it_alone(value: dict[str, Any], role: str) -> None:
    mapping = guess_file([value]).mapping.model_copy(update={"roles": {"oracle": "assistant"}})
    careful, columns = Interpreter(mapping, role, True).read(RawRecord(0, 1, value, b"", 0)), RowColumns()  # type: ignore[arg-type]
    if not FastRows(mapping, role).add(value, 0, columns, controls=False):
        return
    assert careful.problems == []  # whatever deserves a word takes the careful way
    (quick,) = columns.part(ids=1, lines=1).batch.to_pylist()
    assert {**quick, "messages": json.loads(quick["messages"])} == {
        **(slow := full_row(careful.row, 0)),
        "messages": json.loads(slow["messages"]),
    }


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "text", "text": "Yes.", "reasoning": "Is it?"}, "<think>\nIs it?\n</think>\n\nYes."),
        ({"type": "text", "text": "Yes.", "reasoning": ""}, "Yes."),
        ({"type": "thinking", "thinking": [{"type": "text", "text": "Is it?"}]}, "<think>\nIs it?\n</think>"),
        ({"text": "I look.", "functionCall": {"name": "look"}}, 'I look.\n<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>'),
    ],
)
def test_nothing_that_a_part_says_is_dropped(part: dict[str, Any], text: str) -> None:
    assert part_text(part) == text
