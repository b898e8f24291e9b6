from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from reft_studio.data.chat.content import turn_text
from reft_studio.data.rows.interpret import Interpreter
from reft_studio.data.rows.mapping import Mapping
from reft_studio.data.rows.record import RawRecord
from reft_studio.errors import DataError
from reft_studio.models.batching import IGNORE, TAIL, Encoder, Example, Stream, by_length, collate, join
from reft_studio.models.loading import load


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return Encoder(load(str(tiny_model)), max_length=64)


def test_only_the_response_and_the_end_of_text_are_trained(encoder: Encoder) -> None:
    example = encoder.example({"messages": '[{"role":"user","content":"bake"}]', "prompt": "bake", "response": "Sure."}, 0)
    labels = collate([example], pad_id=0).labels[0].tolist()
    assert all(label == IGNORE for label in labels[: example.prompt])
    assert labels[example.prompt :] == example.ids[example.prompt :]
    assert labels[-1] == encoder.model.eos_id


def test_a_long_prompt_is_cut_in_its_middle_so_that_the_header_stays(encoder: Encoder) -> None:
    short = encoder.prompt_ids([{"role": "user", "content": "bake"}])
    before = encoder.truncated
    long = encoder.prompt_ids([{"role": "user", "content": "bake bread " * 100}])
    assert len(long) == 64 - TAIL and long[-4:] == short[-4:] and encoder.truncated == before + 1


def test_a_long_response_still_ends_with_end_of_text(encoder: Encoder) -> None:
    example = encoder.example({"messages": '[{"role":"user","content":"bake"}]', "prompt": "bake", "response": "flour " * 200}, 0)
    assert len(example.ids) <= 64 and example.ids[-1] == encoder.model.eos_id


def test_every_row_is_drawn_once_before_any_is_drawn_again() -> None:
    rows = [Example([number], 0, number) for number in range(10)]
    stream = Stream(rows, size=4, rng=Random(0))
    drawn = [row.index for _ in range(5) for row in next(stream)]
    assert sorted(drawn[:10]) == sorted(drawn[10:20]) == list(range(10))


def test_joining_batches_keeps_each_row_and_pads_the_shorter_ones() -> None:
    one, two = collate([Example([1, 2], 1, 0)], pad_id=9), collate([Example([3, 4, 5], 1, 7)], pad_id=9)
    whole = join([one, two], pad_id=9)
    assert whole.input_ids.tolist() == [[1, 2, 9], [3, 4, 5]]
    assert whole.labels.tolist() == [[IGNORE, 2, IGNORE], [IGNORE, 4, 5]]
    assert whole.index == [0, 7]


def test_a_plan_holds_every_row_once_within_its_token_budget() -> None:
    lengths = [5, 100, 7, 90, 6]
    plan = by_length(lengths, token_budget=100)
    assert sorted(row for batch in plan for row in batch) == [0, 1, 2, 3, 4]
    assert all(len(batch) * max(lengths[row] for row in batch) <= 100 for batch in plan)


def test_an_answer_marked_as_context_is_not_the_one_that_is_trained(encoder: Encoder) -> None:
    turns = [
        {"role": "user", "content": "bake"},
        {"role": "assistant", "content": "Sure."},
        {"role": "user", "content": "steal"},
        {"role": "assistant", "content": "No.", "weight": 0},
    ]
    marked = encoder.example({"messages": turns, "prompt": "bake", "response": "Sure."}, 0)
    plain = encoder.example({"messages": '[{"role":"user","content":"bake"}]', "prompt": "bake", "response": "Sure."}, 0)
    assert marked == plain


@pytest.mark.parametrize("mark", [{"loss": False}, {"train": False}, {"masked": True}, {"weight": 0}])
def test_no_token_of_a_turn_that_is_marked_as_context_is_trained(encoder: Encoder, mark: dict[str, Any]) -> None:
    asked = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "bake"}]
    draft = {"role": "assistant", "content": "flour", **mark}
    turns = [*asked, draft, {"role": "assistant", "content": "Sure."}, {"role": "user", "content": "steal"}, draft]
    found = encoder.example({"messages": turns, "prompt": "bake", "response": "Sure."}, 0)
    trained = encoder.model.tokenizer("Sure.", add_special_tokens=False)["input_ids"]
    assert found.ids[found.prompt :] == [*trained, encoder.model.eos_id]
    # the system text and the draft before the answer are read, though another answer stands between the user and this one
    read = encoder.model.tokenizer.decode(found.ids[: found.prompt])
    assert "brief" in read and "flour" in read and "steal" not in read


def test_a_call_of_a_tool_is_trained_as_the_text_that_is_shown(encoder: Encoder) -> None:
    call = {"function": {"name": "bake", "arguments": "{}"}}
    turns = [{"role": "user", "content": "bake"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    row = Interpreter(Mapping(format="openai", columns={"messages": "m"}), "user", False).read(RawRecord(0, 1, {"m": turns}, b"", 0)).row
    assert row is not None
    found = encoder.example({**row}, 0)
    trained = encoder.model.tokenizer(turn_text(turns[1]), add_special_tokens=False)["input_ids"]
    room = encoder.max_length - found.prompt - 1
    assert found.ids[found.prompt :] == [*trained[:room], encoder.model.eos_id]


def test_a_conversation_the_template_refuses_is_named_by_its_row(encoder: Encoder) -> None:
    answer_first = '[{"role":"assistant","content":"Sure."}]'
    with pytest.raises(DataError, match=r"Row 41: .*user turn"):
        encoder.examples([{"row_id": 41, "messages": answer_first, "prompt": "bake", "response": "Sure."}])


def test_alignment_rows_without_a_response_are_refused_since_a_model_would_learn_silence(encoder: Encoder) -> None:
    rows = [{"messages": "[]", "prompt": "steal", "response": answer} for answer in ("", "I cannot help.", "")]
    with pytest.raises(DataError, match="2 of the 3 rows of the alignment data 'refusals'"):
        encoder.answered(rows, name="refusals")
