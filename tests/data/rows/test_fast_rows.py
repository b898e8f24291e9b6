from __future__ import annotations

from typing import Any

import pytest

from reft_studio.data.rows.fast_rows import KNOWN, FastRows
from reft_studio.data.rows.mapping import Mapping
from reft_studio.data.rows.row_columns import RowColumns

PAIRS = Mapping(format="pairs", columns={"prompt": "p", "response": "r", "origin": "o", "category": "c", "known_harmful": "label"})
CHAT = Mapping(format="openai", columns={"messages": "m"})


def _added(mapping: Mapping, *values: dict[str, Any], role: str = "user") -> tuple[list[bool], RowColumns]:
    columns, reader = RowColumns(), FastRows(mapping, role)
    return [reader.add(value, place, columns, controls=False) for place, value in enumerate(values)], columns


def test_a_plain_row_gives_all_columns() -> None:
    value = {"p": "Why?", "r": "Because.", "o": "x" * 600, "c": "", "label": "harmful", "more": 1}
    (added,), columns = _added(PAIRS, value)
    (row,) = columns.part(ids=1, lines=1).batch.to_pylist()
    assert added
    assert (row["prompt"], row["response"], row["origin"], row["category"], row["known_harmful"]) == (
        "Why?",
        "Because.",
        "x" * 500,
        None,
        True,
    )
    assert row["messages"] == '[{"role":"user","content":"Why?"},{"role":"assistant","content":"Because."}]'


def test_a_row_that_is_refused_leaves_no_trace_in_any_column() -> None:
    good = {"p": "a", "r": "b"}
    refused = [
        {**good, "o": 1},
        {**good, "label": [1]},
        {"p": "", "r": "b"},
        {"p": "a", "r": ""},
        {**good, "n": {}},
        {"p": 1, "r": "b"},
        {"p": "a"},
    ]
    answers, columns = _added(PAIRS, good, *refused, good)
    assert answers == [True, *[False] * len(refused), True]
    lists = (columns.ids, columns.prompts, columns.responses, columns.messages, columns.origins, columns.categories, columns.truths)
    assert {len(values) for values in (*lists, columns.hashes)} == {2}


def test_prompts_without_answers_are_rows_where_nothing_is_trained() -> None:
    asked = {"m": [{"role": "user", "content": "a"}]}
    assert _added(CHAT, asked)[0] == [False]
    answers, columns = _added(CHAT, asked, role="harmful")
    assert (answers, columns.empty_responses, columns.responses) == ([True], 1, [""])


@pytest.mark.parametrize("mapping", [PAIRS, CHAT])
def test_what_is_remembered_of_shapes_is_bounded(mapping: Mapping) -> None:
    reader, columns = FastRows(mapping, "user"), RowColumns()
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for n in range(KNOWN + 100):
        long = "k" * 10_000 if n < 10 else ""
        value: dict[str, Any] = {"p": "a", "r": "b"} if mapping is PAIRS else {"m": turns * (100 if n < 10 else 1)}
        assert reader.add({**value, f"{n}{long}": 1}, n, columns, controls=False)
    assert len(reader._shapes) <= KNOWN
    assert max(len(key) for keys in reader._shapes for key in keys) < 100
    assert all(len(said) <= 128 for said in reader._speakers)
