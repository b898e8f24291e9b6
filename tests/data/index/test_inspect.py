from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.data.index.facets import facet, facet_names
from reft_studio.data.index.inspect import Tokenizer, inspect, inspection, repeats_of
from reft_studio.data.index.languages import Languages
from reft_studio.progress import Silent
from reft_studio.workspace import Workspace

STORY = (
    "Please write a short story about a small dog who gets lost in a big city and finds the way home by the smell of bread from the bakery"
)
SPOKEN = {
    "English": "Could you explain how a bill becomes a law in simple words?",
    "German": "Bitte erkläre mir den Unterschied zwischen diesen beiden Verfahren.",
    "Chinese": "请写一个关于一只小狗的故事，并且让它有一个快乐的结局。谢谢你的帮助！你今天过得怎么样？我很好",
    "unsure": "2+2=4 17 88 3*5=15 9/3=3 12-7=5 6*7=42 81/9=9",
}


def made(workspace: Workspace, *rows: tuple[str, str]) -> Dataset:
    full: list[Any] = [{"prompt": prompt, "response": response} for prompt, response in rows]
    return write_dataset(workspace, full, name="rows", role="user")


def words() -> Tokenizer:
    return Tokenizer("one token a word", lambda texts: np.array([len(text.split()) for text in texts], np.int64), limit=8)


def test_repeats_and_near_repeats_are_told_apart(workspace: Workspace) -> None:
    dataset = made(workspace, (STORY, "Once."), ("Name a river.", "Elbe."), (STORY, "Once."), (STORY.replace("small", "little"), "Once."))
    found = inspect(dataset, Silent())
    assert (found.repeated, found.near, found.groups) == (1, 1, [(0, 3)])
    kept = facet(dataset, "repeats")
    assert kept is not None and kept.codes.tolist() == [0, 0, 1, 2]


def test_the_same_prompt_with_another_answer_is_no_exact_repeat(workspace: Workspace) -> None:
    found = inspect(made(workspace, ("Name a river.", "Elbe."), ("Name a river.", "The Nile, which is long.")), Silent())
    assert (found.repeated, found.near) == (0, 0)


def test_all_rows_of_a_group_know_each_other(workspace: Workspace) -> None:
    dataset = made(workspace, (STORY, "Once."), ("Name a river.", "Elbe."), (STORY, "Once."))
    assert repeats_of(dataset, 0) is None
    inspect(dataset, Silent())
    both = repeats_of(dataset, 0), repeats_of(dataset, 2), repeats_of(dataset, 1)
    assert [found.tolist() for found in both if found is not None] == [[2], [0], []]


@pytest.mark.parametrize("language", SPOKEN)
def test_languages_are_named_and_numbers_are_unsure(language: str) -> None:
    found = Languages(1)
    found.add([SPOKEN[language]])
    assert found.result()[0] == [language]


def test_the_commonest_language_comes_first(workspace: Workspace) -> None:
    dataset = made(workspace, (SPOKEN["German"], "Ja."), (SPOKEN["English"], "Yes."), (SPOKEN["English"], "No."))
    assert list(inspect(dataset, Silent()).languages.items()) == [("English", 2), ("German", 1)]
    kept = facet(dataset, "language")
    assert kept is not None and [kept.labels[code] for code in kept.codes] == ["German", "English", "English"]


def test_tokens_are_counted_by_part_and_rows_that_are_cut_are_named(workspace: Workspace) -> None:
    dataset = made(workspace, ("one two three", "four"), ("a", "b"), ("a b c d e f g", "h i"))
    tokens = inspect(dataset, Silent(), tokenizer=words()).tokens
    assert tokens is not None
    assert (tokens.total, tokens.limit, tokens.over) == (15, 8, 1)
    assert tokens.quantiles["row"] == {"median": 4, "p95": 9, "max": 9} and tokens.quantiles["prompt"]["max"] == 7
    assert {edge: n for edge, n in zip(tokens.edges, tokens.counts, strict=True) if n} == {2: 1, 4: 1, 9: 1}


def test_lengths_are_shown_in_round_steps_and_the_last_bar_takes_the_longest(workspace: Workspace) -> None:
    rows = [("word " * 100, "word " * 140)] * 2000
    found = inspect(made(workspace, *rows, ("word " * 90_000, "end")), Silent(), tokenizer=words()).tokens
    assert found is not None and found.edges[:3] == [0, 20, 40] and found.edges[-1] == 240
    assert found.counts[-1] == 2001 == sum(found.counts) and found.quantiles["row"]["max"] == 90_001


def test_without_a_tokenizer_the_rest_is_found(workspace: Workspace) -> None:
    dataset = made(workspace, (SPOKEN["English"], "Yes."))
    assert inspect(dataset, Silent()).tokens is None
    assert "tokens" not in facet_names(dataset) and "repeats" in facet_names(dataset)


def test_what_was_found_is_kept_and_a_damaged_file_counts_as_none(workspace: Workspace) -> None:
    dataset = made(workspace, (STORY, "Once."), ("Name a river.", "Elbe."))
    assert inspection(dataset) is None
    assert inspect(dataset, Silent(), tokenizer=words()) == inspection(dataset)
    (dataset.folder / "inspection.json").write_text('{"rows": 2}')
    assert inspection(dataset) is None
