"""A word scorer learns from what people read and decided, and from nothing that estimates rest on."""

from __future__ import annotations

import pytest

from reft_studio.audit.decision import Action
from reft_studio.audit.draw import Draw
from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.errors import SpecError
from reft_studio.store import records
from reft_studio.studio.scorers import LEAST
from reft_studio.studio.studio import Studio
from reft_studio.tasks.scorers import labelled_by_people

ROWS = 3 * LEAST


@pytest.fixture
def dataset(studio: Studio) -> Dataset:
    return write_dataset(studio.workspace, [{"prompt": f"row {row}", "response": "r"} for row in range(ROWS)], name="mine", role="user")


def decide(studio: Studio, dataset: Dataset, rows: range, action: Action, *, by: str = "human:ana") -> None:
    for row in rows:
        studio.log.decide(dataset.id, row, action, by=by, seen=True)


def test_too_few_decisions_are_refused_with_how_many_there_are(studio: Studio, dataset: Dataset) -> None:
    decide(studio, dataset, range(LEAST), "keep")
    assert not studio.scorers.may_learn_words(dataset.id)
    with pytest.raises(SpecError, match=f"There are {LEAST} and 0"):
        studio.scorers.learn_words(dataset.id)


def test_enough_decisions_are_learned_once(studio: Studio, dataset: Dataset) -> None:
    decide(studio, dataset, range(LEAST), "keep")
    decide(studio, dataset, range(LEAST, ROWS), "remove")
    found = studio.scorers.learn_words(dataset.id)
    assert (found.kept, found.removed) == (LEAST, 2 * LEAST) and studio.scorers.may_learn_words(dataset.id)
    assert studio.scorers.learn_words(dataset.id).job == found.job, "asked for twice, it is made once"


def test_rows_decided_in_bulk_are_no_reading(studio: Studio, dataset: Dataset) -> None:
    studio.log.decide_bulk(dataset.id, list(range(ROWS)), "keep")
    assert labelled_by_people(studio.workspace, dataset.id) == []


def test_rows_drawn_at_random_and_rows_in_dispute_are_left_out(studio: Studio, dataset: Dataset) -> None:
    decide(studio, dataset, range(5), "keep")
    decide(studio, dataset, range(4, 5), "remove", by="human:bob")
    draw = Draw("above", "k", 0, -1.0, ROWS, "f", "s", seen=[2], rows=[0, 1], decisions=(0, ""))
    records.append(studio.workspace, dataset.id, "draw", "human:ana", lambda before, head: draw.as_dict())
    assert labelled_by_people(studio.workspace, dataset.id) == [(("row 3", "r"), False)]
