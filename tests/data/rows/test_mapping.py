from __future__ import annotations

from typing import Any

import pytest

from reft_studio.data.chat.conversation import UnusableRowError, turns_of, turns_of_transcript
from reft_studio.data.columns import find_column, looks_like_names, plain_name, unique_headers
from reft_studio.data.rows.interpret import Interpreter, guess_file
from reft_studio.data.rows.mapping import Mapping, build, guess, is_blank
from reft_studio.data.rows.record import RawRecord
from reft_studio.data.rows.truth import truth

QA = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]

LLAMA_3 = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|>"
)


def _read(value: Any, *, role: Any = "user", mapping: Mapping | None = None) -> Any:
    chosen = mapping or guess_file([value]).mapping
    return Interpreter(chosen, role, mapping is None).read(RawRecord(7, 8, value, b"", 0))


@pytest.mark.parametrize("name", ["output", " Output (gold)", "OUTPUT", "\ufeffoutput", '"output"', "output [en]"])
def test_a_column_is_known_in_every_dress(name: str) -> None:
    assert plain_name(name) == "output"
    assert find_column("response", ["instruction", name]) == name


def test_headers_become_distinct() -> None:
    assert unique_headers(["prompt", " response ", "prompt", ""]) == ["prompt", "response", "prompt (2)", "column 4"]


def test_sentences_are_no_header() -> None:
    assert looks_like_names(["prompt", "model answer", "Unnamed: 0"])
    assert not looks_like_names(["How do I bake bread?"])
    assert not looks_like_names(["x" * 61])


@pytest.mark.parametrize(
    ("value", "kind", "prompt", "response"),
    [
        ({"messages": QA}, "openai", "Q", "A"),
        ({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}, "sharegpt", "Q", "A"),
        ({"dialog": QA}, "openai", "Q", "A"),
        ({"id": 1, "convo": QA}, "openai", "Q", "A"),
        ({"messages": '[{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]'}, "openai", "Q", "A"),
        ({"instruction": "Q", "input": "", "output": "A"}, "alpaca", "Q", "A"),
        ({"instruction": "Q", "input": "more", "output": "A"}, "alpaca", "Q\nmore", "A"),
        ({"instruction": "Q", "context": "more", "response": "A", "category": "qa"}, "alpaca", "Q\nmore", "A"),
        ({"prompt": "Q", "completion": "A"}, "pairs", "Q", "A"),
        ({"prompt": QA[:1], "completion": QA[1:]}, "pairs", "Q", "A"),
        ({"question": "Q", "answer": "A"}, "pairs", "Q", "A"),
        ({"Goal": "Q", "target": "A"}, "pairs", "Q", "A"),
        ({"prompt": "Q", "chosen": "A", "rejected": "B"}, "pairs", "Q", "A"),
        ({"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"}, "text", "Q", "A"),
        ({"text": "<s>[INST] Q [/INST] A </s>"}, "text", "Q", "A"),
        ({"text": "<s>[INST] <<SYS>>be<</SYS>> Q [/INST] A </s>"}, "text", "Q", "A"),
        ({"text": "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>"}, "text", "Q", "A"),
        ({"text": "<start_of_turn>user\nQ<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>"}, "text", "Q", "A"),
        ({"text": LLAMA_3}, "text", "Q", "A"),
        ({"text": "Below is an instruction.\n\n### Instruction:\nQ\n\n### Input:\nmore\n\n### Response:\nA"}, "text", "Q\nmore", "A"),
        ({"instructions": "Q", "outputs": "A"}, "pairs", "Q", "A"),
        ({"content": "only text"}, "text", "only text", ""),
    ],
)
def test_every_shape_in_use_is_read(value: dict[str, Any], kind: str, prompt: str, response: str) -> None:
    found = guess_file([value])
    assert found.mapping.format == kind
    assert found.confidence >= 0.8
    row = _read(value).row
    assert (row["prompt"], row["response"]) == (prompt, response)


def test_a_preference_row_is_read_with_its_preferred_answer() -> None:
    value = {"input": {"messages": QA[:1]}, "preferred_output": QA[1:], "non_preferred_output": [{"role": "assistant", "content": "B"}]}
    mapping = Mapping(format="openai", columns={"messages": "messages"})
    assert Interpreter(mapping, "user", True).read(RawRecord(0, 1, value, b"", 0)).row == {
        "prompt": "Q",
        "response": "A",
        "messages": QA,
        "row_id": 0,
    }


def test_system_history_category_and_origin_come_along() -> None:
    value = {"instruction": "Q", "output": "A", "system": "S", "history": [["q", "a"]], "category": {"x": True, "y": False}, "source": 3}
    row = _read(value).row
    assert [(turn["role"], turn["content"]) for turn in row["messages"]] == [
        ("system", "S"),
        ("user", "q"),
        ("assistant", "a"),
        ("user", "Q"),
        ("assistant", "A"),
    ]
    assert (row["category"], row["origin"]) == ("x", "3")


def test_the_last_trained_answer_counts() -> None:
    turns = [*QA, {"role": "user", "content": "Q2"}, {"role": "assistant", "content": "draft", "weight": 0}]
    reading = _read({"messages": turns})
    assert (reading.row["prompt"], reading.row["response"]) == ("Q", "A")
    assert [problem.reason for problem in reading.problems] == ["turns after the last answer, which train nothing"]
    assert reading.row["messages"][3]["weight"] == 0


def test_pictures_are_left_out_with_a_warning() -> None:
    parts = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    reading = _read({"messages": [{"role": "user", "content": parts}, QA[1]]})
    assert reading.row["prompt"] == "Look"
    assert "no text" in reading.problems[0].reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"messages": []}, "the conversation is empty"),
        ({"messages": None}, "no conversation"),
        ({"messages": [None]}, "a turn is no object"),
        ({"messages": [{"content": "x"}]}, "a turn has no known role"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "the speaker 'wizard' is not known"),
        ({"messages": QA[1:]}, "no user turn"),
        ({"messages": QA[:1]}, "empty response"),
        ({"prompt": "\u200b \ufeff", "response": "x"}, "empty prompt"),
        ({"prompt": {"a": 1}, "response": "x"}, "the prompt is an object"),
        ({}, "empty prompt"),
        ([1], "not an object but a list"),
        (None, "not an object but null"),
    ],
)
def test_an_unusable_row_says_why(value: Any, reason: str) -> None:
    columns = {"messages": "messages"} if isinstance(value, dict) and "messages" in value else {"prompt": "prompt", "response": "response"}
    mapping = Mapping(format="openai" if "messages" in columns else "pairs", columns=columns)
    reading = _read(value, mapping=mapping)
    assert reading.row is None
    assert [(problem.line, problem.severity, problem.reason) for problem in reading.problems] == [(8, "error", reason)]
    assert reading.problems[0].hint


def test_a_turn_nested_beyond_reason_is_refused_and_not_a_crash() -> None:
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    with pytest.raises(UnusableRowError, match="nested too deeply"):
        turns_of([{"role": "user", "content": "x", "extra": deep}])
    with pytest.raises(UnusableRowError, match="nested too deeply"):
        turns_of([{"role": "user", "content": deep}])


def test_rows_of_another_shape_are_read_by_their_own_names_unless_a_person_chose() -> None:
    mapping = Mapping(format="openai", columns={"messages": "messages"})
    other = RawRecord(1, 2, {"question": "Q", "answer": "A"}, b"", 0)
    reading = Interpreter(mapping, "user", True).read(other)
    assert reading.row is not None and reading.row["prompt"] == "Q"
    assert "another shape" in reading.problems[0].reason
    assert Interpreter(mapping, "user", False).read(other).row is None


def test_prompts_without_answers_do_not_hide_the_answers_of_others() -> None:
    rows = [{"prompt": "x"}] * 9 + [{"prompt": "x", "response": "y"}]
    assert guess_file(rows).mapping.columns == {"prompt": "prompt", "response": "response"}
    late = Interpreter(guess_file(rows[:9]).mapping, "user", True).read(RawRecord(0, 1, rows[9], b"", 0))
    assert late.row is not None and late.row["response"] == "y"


def test_most_rows_decide_the_mapping() -> None:
    rows = [{"messages": QA}] * 3 + [{"prompt": "x", "response": "y"}] * 5 + [{"prompt": "x", "response": "y", "category": "z"}]
    found = guess_file(rows)
    assert found.mapping.columns == {"prompt": "prompt", "response": "response", "category": "category"}


def test_a_million_columns_take_no_time() -> None:
    names = [f"c{number}" for number in range(1_000_000)]
    assert guess(names, [dict.fromkeys(names[:10], "x y")]).confidence < 0.5


@pytest.mark.parametrize(
    ("cell", "column", "expected"),
    [
        ("unsafe", "label", True),
        ("Harmless ", "type", False),
        (True, "is_harmful", True),
        (1, "is_safe", False),
        ("0", "is_harmful", False),
        (1, "label", None),
        (True, "label", None),
        (2, "is_harmful", None),
        ("maybe", "is_harmful", None),
        (None, "is_harmful", None),
        ([], "is_harmful", None),
    ],
)
def test_truth_is_read_only_where_it_is_clear(cell: Any, column: str, expected: bool | None) -> None:
    assert truth(cell, column) is expected


def test_one_doubtful_cell_makes_a_column_no_ground_truth() -> None:
    rows = [{"prompt": "a", "response": "b", "label": label} for label in ("harmful", "harmless", "joy")]
    assert "known_harmful" not in guess(list(rows[0]), rows).mapping.columns
    assert guess(list(rows[0]), rows[:2]).mapping.columns["known_harmful"] == "label"


def test_a_row_without_ground_truth_has_none() -> None:
    mapping = Mapping(format="pairs", columns={"prompt": "prompt", "response": "response", "known_harmful": "label"})
    assert build({"prompt": "a", "response": "b", "label": "?"}, mapping).row["known_harmful"] is None


@pytest.mark.parametrize("text", ["", "  \t\n", "\u3000\u00a0", "\u200b\u200d\ufeff", "\0\x07"])
def test_what_shows_nothing_is_blank(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["?", "\U0001f916", "0", ".", "\u0301"])
def test_the_least_sign_is_not_blank(text: str) -> None:
    assert not is_blank(text)


@pytest.mark.parametrize("text", ["just text", "Human: hi", "### Response: alone", "[INST] unclosed", ""])
def test_text_without_two_speakers_is_no_transcript(text: str) -> None:
    assert turns_of_transcript(text) is None
