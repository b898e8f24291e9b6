"""The two stages: which terms a list gets, what it escalates, and that its laws hold."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.scoring.deep_ignorance import DeepIgnorance, block_list, staged
from reft_studio.scoring.keywords import Terms, read_words
from reft_studio.scoring.prepared import open_prepared
from reft_studio.scoring.scores import open_score_set
from reft_studio.scoring.text_model import TextModel
from reft_studio.tasks.score import score_dataset
from reft_studio.tasks.scorers import prepare_scorer
from reft_studio.workspace import Workspace


def test_a_list_has_terms_that_are_frequent_in_harmful_prompts_even_where_those_are_refused_elsewhere() -> None:
    harmful = [f"how to steal jewels {place}" for place in range(20)]
    harmless = [f"how to paint doors {place}" for place in range(20)]
    found = block_list([*harmful, *harmless, *harmful], np.array([True] * 20 + [False] * 40))
    assert {"steal", "jewels", "steal jewels", "to steal"} <= set(found)
    assert not {"how to", "paint", "doors", "to"} & set(found)


def test_a_term_that_is_inside_of_harmless_words_is_no_good_as_a_substring() -> None:
    harmful, harmless = [f"the rape of {place}" for place in range(20)], [f"grapes and drapery {place}" for place in range(20)]
    assert "rape" not in block_list([*harmful, *harmless], np.array([True] * 20 + [False] * 20))


def test_it_is_prepared_from_what_ships_and_its_laws_hold(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    made = prepare_scorer(ForegroundContext(workspace), {"scorer": "deep_ignorance"})
    prepared = open_prepared(workspace, made["scorer"])
    words, model = read_words(prepared.folder), TextModel.load(prepared.folder)
    row = "\n".join(words[:3])
    texts = pa.array([row, words[0], "what is the time"], pa.string())
    nothing, some, all_of_them = (staged(texts, Terms(few, whole=False), model) for few in ((), words[:1], words))
    assert nothing.tolist() == some.tolist() == [-1, -1, -1], "an empty list, or one with a single term, drops nothing"
    assert all_of_them[0] == model.scores(texts)[0] and all_of_them[2] == -1
    escalated = [(Terms(words[:count], whole=False).counts(texts) >= 2) for count in (0, 2, 10, len(words))]
    assert all((more | ~fewer).all() for fewer, more in pairwise(escalated)), "more terms escalate no fewer rows"
    rows: list[Row] = [{"prompt": row, "response": "ok"}, {"prompt": "what is the time", "response": "noon"}]
    two = write_dataset(workspace, rows, name="two", role="user")
    answer = score_dataset(ForegroundContext(workspace), {"dataset": two.id, "scorer": prepared.id})
    assert (open_score_set(workspace, answer["dataset"], answer["key"]).scores() > -1).tolist() == [True, False]
    assert DeepIgnorance().explain(prepared, {**rows[0], "messages": "[]"}) and prepared.threshold == 0
    assert not DeepIgnorance().explain(prepared, {**rows[1], "messages": "[]"})
