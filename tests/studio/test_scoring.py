"""What unfinished scores allow: reading and single decisions; what needs all rows is refused, with how many there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.errors import SpecError
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.jobs.queue import JobQueue
from reft_studio.lab import sets
from reft_studio.scoring.partial import PartialScores
from reft_studio.scoring.prepared import open_prepared
from reft_studio.scoring.scores import list_score_sets, score_key
from reft_studio.scoring.work import Scored
from reft_studio.studio.row_filter import RowFilter
from reft_studio.studio.studio import Studio
from reft_studio.tasks import index
from reft_studio.tasks.score import score_dataset

ROWS = 30


@pytest.fixture
def dataset(studio: Studio) -> Dataset:
    rows: list[Row] = [{"prompt": f"how do i steal car {at}" if at < 3 else f"sum up note {at}", "response": "no"} for at in range(ROWS)]
    made = write_dataset(studio.workspace, rows, name="thirty", role="user")
    studio.choose(dataset=made.id)
    return made


@pytest.fixture
def half_scored(studio: Studio, dataset: Dataset) -> Dataset:
    """The lab's teacher has reached rows 0 to 11, of which three are flagged."""
    prepared, result = open_prepared(studio.workspace, "lab"), Scored.empty(ROWS)
    result.put(0, np.where(np.arange(12) < 3, 0.99, -0.9).astype(np.float32), np.zeros(12, dtype=np.uint8))
    key = score_key(prepared.scorer, prepared.id, prepared.created)
    made: Any = {"key": key, "scorer": prepared.scorer, "teacher": "lab", "threshold": prepared.threshold}
    PartialScores(studio.workspace, dataset, result, **made).write()
    return dataset


def test_unfinished_scores_are_in_use_and_counted_as_far_as_they_go(studio: Studio, half_scored: Dataset) -> None:
    state = studio.state()
    assert state.score is not None and (state.score.reached, state.score.finished) == (12, False)
    view = studio.scores.view(half_scored.id, state.score.key)
    assert sum(rows for _, rows, _, _ in view.bins) == 12
    assert studio.rows.count(half_scored.id, state.score.key, 0.5, RowFilter(side="flagged")) == 3
    assert studio.rows.count(half_scored.id, state.score.key, 0.5, RowFilter(side="unreached")) == 18
    assert studio.measures.unscored(half_scored.id, state.score.key) == []
    rows = studio.rows.page(half_scored.id, state.score.key, 0.5, RowFilter(order="file"), offset=11).rows
    assert [row["reason"] for row in rows[:2]] == [None, "not yet reached"]


@pytest.mark.parametrize(
    "act",
    [
        lambda studio, name: studio.audit.freeze(name),
        lambda studio, name: studio.audit.start_freeze(name),
        lambda studio, name: studio.audit.export(name),
        lambda studio, name: studio.audit.draw(name),
        lambda studio, name: studio.audit.select_rows(name, RowFilter(side="flagged")),
        lambda studio, name: studio.audit.select_rows(name, RowFilter(low=0.5)),
        lambda studio, name: studio.reports.build(dataset_id=name),
    ],
)
def test_what_needs_all_rows_is_refused(studio: Studio, half_scored: Dataset, act: Callable[[Studio, str], Any]) -> None:
    with pytest.raises(SpecError, match=r"Only 12 of 30 rows are scored so far.*must wait\. Let the scoring on the Filter page end"):
        act(studio, half_scored.id)


def test_nothing_is_estimated_from_the_rows_that_came_first(studio: Studio, half_scored: Dataset) -> None:
    found = studio.audit.estimates(half_scored.id)
    assert found.rate is None and found.by == "none"
    assert found.sentence == (
        "No estimate yet. 18 rows are still to be scored, and the 12 that are were taken first because they look most harmful. "
        "Let the scoring on the Filter page end."
    )


def test_rows_are_reviewed_one_by_one_meanwhile(studio: Studio, half_scored: Dataset) -> None:
    assert studio.audit.decide(half_scored.id, 0, "remove").action == "remove"
    assert [item.row_id for item in studio.review_queue.batch(half_scored.id, order="highest", size=2).items] == [1, 2]
    assert len(studio.review_queue.batch(half_scored.id, size=20).items) == 11  # rows not reached and random draws are not in it


def test_new_user_data_is_scored_by_words_at_once_and_the_labs_is_not(studio: Studio, dataset: Dataset) -> None:
    index.first_scores(ForegroundContext(studio.workspace), dataset)
    score = studio.state().score
    assert score is not None and score.scorer == "tfidf" and score.finished
    now = studio.scoring.now(dataset.id)
    assert now.job is None and now.misses.startswith("Meaning that is not in the words")
    lab = write_dataset(studio.workspace, sets.user_data(rows=20), name="lab", role="user", extra={"made_by": "lab"})
    index.first_scores(ForegroundContext(studio.workspace), lab)
    assert list_score_sets(studio.workspace, lab.id) == []


def test_very_large_data_is_scored_by_words_in_a_job_of_its_own(studio: Studio, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "AT_ONCE_ROWS", 10)
    index.first_scores(ForegroundContext(studio.workspace), dataset)
    (job,) = [one for one in JobQueue(studio.workspace).list() if one.kind == "score"]
    assert job.params == {"dataset": dataset.id, "scorer": "tfidf"}


def test_the_scores_that_were_asked_for_come_into_use(studio: Studio, dataset: Dataset) -> None:
    words = score_dataset(ForegroundContext(studio.workspace), {"dataset": dataset.id, "scorer": "tfidf"})["key"]
    other = score_dataset(ForegroundContext(studio.workspace), {"dataset": dataset.id, "scorer": "random"})["key"]
    studio.choose(score_key=words)
    studio.scoring.start(dataset.id, "random")
    assert studio.state().score.key == other  # type: ignore[union-attr]
    studio.choose(score_key=words)
    studio.scoring.start(dataset.id, "lab")
    assert studio.settings.get(f"score:{dataset.id}") is None  # the newest are in use: those of the lab, once there are any
    assert studio.scoring.now(dataset.id).job.state == "queued"  # type: ignore[union-attr]
