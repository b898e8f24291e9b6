"""What is known of a file is brought together: its language, its labels under every scorer, a scorer that is gone."""

from __future__ import annotations

import numpy as np
import pytest

from reft_studio.audit.estimates import Estimates
from reft_studio.data.dataset import Row, write_dataset
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import write_scores
from reft_studio.store import settings
from reft_studio.studio.studio import Studio

ENGLISH = "Please tell me how the weather will be in the mountains tomorrow, number"
GERMAN = "Bitte sage mir, wie das Wetter morgen in den Bergen sein wird, Nummer"
UP = np.linspace(-0.9, 0.9, 80)


def judged(studio: Studio, words: str, *, scorer: str = "tfidf", harmful: list[bool] | None = None, others: int = 0) -> Estimates:
    """A file of 80 rows that scores from -0.9 up, by one scorer and `others`."""
    rows: list[Row] = [{"prompt": f"{words} {at}", "response": "r", "known_harmful": harmful and harmful[at]} for at in range(80)]
    dataset = write_dataset(studio.workspace, rows, name="file", role="user")
    for number in range(1 + others):
        facts = {"key": f"k{number}", "scorer": scorer, "teacher": scorer, "threshold": 0.0, "info": {}}
        write_scores(studio.workspace, dataset, UP.astype(np.float32), **facts)  # type: ignore[arg-type]
    return studio.audit.estimates(dataset.id, "k0")


def kind(found: Estimates) -> str:
    return found.withheld.kind if found.withheld else ""


def test_a_file_in_a_language_that_no_calibration_prompt_is_in_is_named(studio: Studio) -> None:
    found = judged(studio, GERMAN)
    assert kind(found) == "language" and found.rate is None
    assert "100% of the rows are in languages (German)" in found.sentence and "teacher that reads it" in found.sentence


def test_a_file_in_a_language_that_is_read_is_not_held_against_it(studio: Studio) -> None:
    assert kind(judged(studio, ENGLISH)) != "language"


def test_the_labs_teacher_is_judged_by_the_words_it_knows(studio: Studio) -> None:
    assert kind(judged(studio, GERMAN, scorer="lab")) != "language", "the share of unfamiliar words was not measured here"


def test_a_scorer_that_is_gone_leaves_no_calibration(studio: Studio) -> None:
    assert kind(judged(studio, ENGLISH, scorer="gone")) == "no calibration"


def test_labels_that_contradict_every_scorer_are_told_apart_from_those_that_contradict_one(studio: Studio) -> None:
    swapped = [at < 40 for at in range(80)]
    one, all_of_them = judged(studio, ENGLISH, harmful=swapped), judged(studio, ENGLISH + " again", harmful=swapped, others=1)
    assert kind(one) == kind(all_of_them) == "labels"
    assert "contradict these scores" in one.checked and "contradict every scorer of this file" in all_of_them.checked


def test_the_scores_in_use_are_meant_where_none_are_named(studio: Studio) -> None:
    found = judged(studio, GERMAN)
    (dataset,) = studio.datasets.every()
    settings.set(studio.workspace, "dataset", dataset.id)
    assert studio.audit.estimates(dataset.id).sentence == found.sentence
    bare = write_dataset(studio.workspace, [{"prompt": "p", "response": "r"}], name="bare", role="user")
    with pytest.raises(SpecError, match="nothing can be estimated"):
        studio.audit.estimates(bare.id)
