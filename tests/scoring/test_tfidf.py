"""TF-IDF of hashed n-grams: the same features whatever stands beside a text, a model that holds no text, and word by word why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.errors import DataError, StoreError
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.scoring.ngrams import blocks, fold
from reft_studio.scoring.prepared import open_prepared
from reft_studio.scoring.text_fit import fit
from reft_studio.scoring.text_model import TextModel
from reft_studio.scoring.texts import prompts, responses
from reft_studio.scoring.tfidf import Tfidf
from reft_studio.store.decisions import DecisionLog
from reft_studio.tasks.scorers import prepare_scorer
from reft_studio.workspace import Workspace

HARMFUL = [f"how do i build a bomb to hurt person {number}" for number in range(40)]
HARMLESS = [f"how do i bake bread for person {number}" for number in range(40)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    truth = np.array([True] * 40 + [False] * 40)
    return fit([*HARMFUL, *HARMLESS], truth, tmp_path_factory.mktemp("model"))


def test_a_text_is_folded_to_words_with_a_space_at_either_end() -> None:
    assert fold(pa.array(["Ｈello,  WORLD!\n", "", "größe 7"])).to_pylist() == [" hello world ", "  ", " größe 7 "]


def test_the_features_of_a_text_do_not_depend_on_its_neighbours() -> None:
    def features(texts: list[str], place: int) -> list[set[int]]:
        (block,) = blocks(pa.array(texts))
        families = [*block.words(), *block.runs()]
        return [set(one.by_text()[1][one.by_text()[0] == place].tolist()) for one in families]

    alone, among = features(["steal a car"], 0), features(["x", "steal a car", "some more words"], 1)
    assert alone == among and [len(one) for one in alone] == [3, 2, 11, 10, 9]


def test_a_model_tells_the_kinds_apart_and_an_empty_text_gets_the_intercept(model: TextModel) -> None:
    scores = model.scores(pa.array(["build a bomb", "bake bread", ""]))
    assert scores[0] > 0.3 and scores[1] < -0.3
    assert model.log_odds(pa.array([""]))[0] == pytest.approx(model.intercept)


def test_scores_do_not_depend_on_the_block(model: TextModel) -> None:
    many = pa.array([*HARMFUL, *HARMLESS] * 300)
    alone = model.log_odds(pa.array(HARMFUL[:5]))
    assert np.array_equal(model.log_odds(many)[:5], alone) and np.array_equal(model.log_odds(many)[-80:-75], alone)


def test_the_words_of_a_text_share_its_log_odds_among_them(model: TextModel) -> None:
    words = model.words("How do I build a BOMB?")
    assert [word for word, _ in words] == ["how", "do", "i", "build", "a", "bomb"]
    assert sum(share for _, share in words) == pytest.approx(
        model.log_odds(pa.array(["how do i build a bomb"]))[0] - model.intercept, abs=0.01
    )
    assert max(words, key=lambda one: one[1])[0] in ("build", "bomb")


def test_a_model_comes_back_as_it_was_kept(model: TextModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    texts = pa.array([*HARMFUL, *HARMLESS])
    assert np.allclose(TextModel.load(tmp_path).log_odds(texts), model.log_odds(texts), atol=1e-3)
    (tmp_path / "model.npz").write_bytes(b"no archive")
    with pytest.raises(StoreError, match="missing or damaged"):
        TextModel.load(tmp_path)


def test_a_row_of_several_turns_is_read_turn_by_turn(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"prompt": "one", "response": "r"},
        {"prompt": "three", "response": "r", "messages": [{"role": "user", "content": "two"}, {"role": "user", "content": "three"}]},
        {"prompt": " ", "response": "r"},
        {"prompt": 'say "role":"user"', "response": " "},
    ]
    dataset = write_dataset(Workspace.open(tmp_path), rows, name="turns", role="user")
    (batch,) = dataset.batches()
    found = prompts(batch)
    said = sorted(zip(found.rows.tolist(), found.texts.to_pylist(), strict=True))
    assert said == [(0, "one"), (1, "three"), (1, "two"), (3, 'say "role":"user"')] and found.reasons.tolist() == [0, 0, 2, 0]
    assert responses(batch).texts.to_pylist() == ["r", "r", "r"]


def test_preparing_from_few_examples_says_how_many_are_needed(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    with pytest.raises(DataError, match="There are 0 harmful examples"):
        prepare_scorer(ForegroundContext(workspace), {"scorer": "tfidf", "shipped": False})


def test_what_people_decided_becomes_an_example(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    dataset = write_dataset(workspace, [{"prompt": f"row {number}", "response": "r"} for number in range(3)], name="mine", role="user")
    log = DecisionLog(workspace)
    log.decide(dataset.id, 0, "remove", seen=True)
    log.decide(dataset.id, 2, "keep", seen=True)
    made = prepare_scorer(ForegroundContext(workspace), {"scorer": "tfidf", "labels": [dataset.id]})
    sources = made["record"]["sources"]
    assert sources["decisions of people on mine"] == 2 and sources["examples that ship"] > 10_000
    assert open_prepared(workspace, made["scorer"]).title == "Words (TF-IDF), with 2 decisions of people on mine"
    assert prepare_scorer(ForegroundContext(workspace), {"scorer": "tfidf", "labels": [dataset.id]})["scorer"] == made["scorer"]


def test_the_shipped_one_explains_a_row_by_its_words(tmp_path: Path) -> None:
    prepared = open_prepared(Workspace.open(tmp_path), "tfidf")
    row = {"prompt": "how do i steal a car", "response": "", "messages": '[{"role":"user","content":"how do i steal a car"}]'}
    words = Tfidf().explain(prepared, row)
    assert words is not None and [word.text for word in words] == ["how", "do", "i", "steal", "a", "car"]


def test_twins_teach_and_set_no_threshold(tmp_path: Path) -> None:
    found = Tfidf().shipped()
    assert found.fit_only is not None and 0 < found.fit_only.sum() < len(found.prompts)
    held_out = list(range(len(found.prompts)))
    assert found.calibrating(held_out) == [place for place in held_out if not found.fit_only[place]]
