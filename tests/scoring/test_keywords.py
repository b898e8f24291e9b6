"""The word list: what counts as a use of a word, and what it is wrong about."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from reft_studio import fingerprint
from reft_studio.data.dataset import Row, write_dataset
from reft_studio.errors import SpecError
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.scoring.keywords import FILE, Keywords, Terms, scores_of
from reft_studio.scoring.prepared import open_prepared
from reft_studio.scoring.scores import open_score_set
from reft_studio.tasks.score import score_dataset
from reft_studio.tasks.scorers import prepare_scorer
from reft_studio.workspace import Workspace


def counts(*texts: str, words: tuple[str, ...] = ("kill", "pipe bomb", "rape"), whole: bool = True) -> list[int]:
    return Terms(words, whole=whole).counts(pa.array(texts, pa.string())).tolist()  # type: ignore[no-any-return]


def test_distinct_terms_are_counted_once_each_in_any_case_and_across_punctuation() -> None:
    assert counts("Kill, KILL and kill!", "a pipe-bomb; kill", "pipe  bomb", "", "nothing here") == [1, 2, 1, 0, 0]


def test_whole_words_spare_words_that_contain_them_and_miss_other_forms() -> None:
    assert counts("a skilled therapist eats grapes", "he killed it") == [0, 0]
    assert counts("a skilled therapist eats grapes", "he killed it", whole=False) == [2, 1]


def test_both_ways_flag_a_harmless_use_of_a_word() -> None:
    assert counts("how do I kill a hung process?") == counts("how do I kill a hung process?", whole=False) == [1]


def test_another_term_never_lowers_a_score() -> None:
    texts = pa.array(["kill the lights", "grape jam", "a pipe bomb"], pa.string())
    few, more = (scores_of(Terms(words, whole=False).counts(texts)) for words in (("kill",), ("kill", "rape", "bomb")))
    assert (more >= few).all() and (more > few).any()
    assert scores_of(np.array([0, 1, 2, 3])).tolist() == [-1, 0, 0.5, 0.75]


def test_own_words_flag_rows_by_prompt_or_response_and_are_shown(workspace: Workspace) -> None:
    made = prepare_scorer(ForegroundContext(workspace), {"scorer": "keywords", "words": ["Red  Fox", "owl"], "least": 2})
    rows: list[Row] = [
        {"prompt": "where does the red fox live", "response": "near the owl"},
        {"prompt": "where does the red fox live", "response": "in a den"},
        {"prompt": "what is the time", "response": "noon"},
    ]
    dataset = write_dataset(workspace, rows, name="three", role="user")
    answer = score_dataset(ForegroundContext(workspace), {"dataset": dataset.id, "scorer": made["scorer"]})
    score = open_score_set(workspace, dataset.id, answer["key"])
    assert score.scores().tolist() == [0.5, 0, -1] and score.threshold == 0.5
    row = next(iter(dataset.read(["prompt", "messages", "response"])))
    assert [word.text for word in Keywords().explain(open_prepared(workspace, made["scorer"]), row)] == ["owl", "red fox"]
    with pytest.raises(SpecError, match="The word list is empty"):
        prepare_scorer(ForegroundContext(workspace), {"scorer": "keywords", "words": ["!", ""]})


def test_the_list_that_ships_is_what_preparing_makes_and_its_weakness_is_told(workspace: Workspace) -> None:
    ships, made = open_prepared(workspace, "keywords"), prepare_scorer(ForegroundContext(workspace), {"scorer": "keywords"})
    again = open_prepared(workspace, made["scorer"])
    assert fingerprint.of_file(ships.folder / FILE) == fingerprint.of_file(again.folder / FILE)
    assert ships.calibration == again.calibration and ships.threshold == again.threshold == 0
    assert ships.calibration["recall"] < 25, "a page calls it unusable by these"
