from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from reft_studio.data.dataset import Row, open_dataset, write_dataset
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import write_scores
from reft_studio.store import records
from reft_studio.studio.row_filter import RowFilter
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace

ROWS = 200
UNSCORED = 13


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    opened = Studio(Workspace.open(tmp_path))
    rows: list[Row] = [{"prompt": f"prompt {at}", "response": "r", "origin": "mix" if at % 2 else "task"} for at in range(ROWS)]
    dataset = write_dataset(opened.workspace, rows, name="d", role="user")
    values = np.linspace(-1, 1, ROWS).astype(np.float32)
    values[UNSCORED] = np.nan
    write_scores(opened.workspace, dataset, values, key="k", scorer="s", teacher="t", threshold=0.0, info={})
    opened.choose(dataset=dataset.id)
    opened.audit.set_checks(0)  # rows alone; checks have tests of their own
    return opened


def ids(studio: Studio, **asked: object) -> list[int]:
    return [item.row_id for item in studio.review_queue.batch(dataset(studio), **asked).items]  # type: ignore[arg-type]


def dataset(studio: Studio) -> str:
    state = studio.state()
    assert state.dataset is not None
    return state.dataset.id


def test_the_mixed_order_begins_at_the_line_and_holds_random_and_clear_rows(studio: Studio) -> None:
    items = studio.review_queue.batch(dataset(studio), size=20).items
    kinds = {item.why for item in items}
    assert kinds == {"borderline", "random", "precision"}
    assert items[0].why == "borderline"
    assert abs(items[0].score or 1) < 0.02
    assert len({item.row_id for item in items}) == 20


def test_decided_rows_do_not_come_again_in_any_order(studio: Studio) -> None:
    for order in ("borderline", "highest", "random"):
        first = ids(studio, order=order, size=10)
        for row in first:
            studio.audit.decide(dataset(studio), row, "keep", seen=True)
        assert not set(first) & set(ids(studio, order=order, size=10))


def test_a_random_draw_that_a_bulk_decision_took_still_waits_for_a_reader(studio: Studio) -> None:
    drawn = [item.row_id for item in studio.review_queue.batch(dataset(studio), size=20).items if item.why == "random"]
    studio.audit.decide_many(dataset(studio), drawn, "keep")
    assert set(drawn) <= set(ids(studio, size=20))


def test_people_who_open_a_queue_at_once_share_one_draw(studio: Studio) -> None:
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda by: ids(studio, by=by), ["Ana", "Ben", "Cleo", "Dan"]))
    assert all(batch == batches[0] for batch in batches)
    drawn = records.of_kind(studio.workspace, dataset(studio), "draw")
    assert len(drawn) == 2  # one on each side of the line


def test_highest_comes_down_from_the_top(studio: Studio) -> None:
    assert ids(studio, order="highest", size=3) == [199, 198, 197]


def test_every_row_comes_once_if_one_reads_long_enough_and_those_without_a_score_last(studio: Studio) -> None:
    read: list[int] = []
    while len(read) < ROWS and (items := studio.review_queue.batch(dataset(studio), size=100).items):
        batch = [item.row_id for item in items]
        studio.audit.decide_many(dataset(studio), batch, "keep")
        for drawn in (item.row_id for item in items if item.why in ("random", "precision")):
            studio.audit.decide(dataset(studio), drawn, "keep", seen=True)  # a random draw is read one row at a time
        read += [row for row in batch if row not in read]
    assert sorted(read) == list(range(ROWS))
    assert read[-1] == UNSCORED


def test_a_random_order_is_no_other_after_a_decision(studio: Studio) -> None:
    first = ids(studio, order="random", size=20)
    studio.audit.decide_many(dataset(studio), first[:5], "remove")
    assert ids(studio, order="random", size=15) == first[5:]


def test_two_scorers_disagree_on_the_rows_that_only_one_flags(studio: Studio) -> None:
    with pytest.raises(SpecError, match="Only one scorer"):
        ids(studio, order="disagreement")
    values = np.linspace(-1, 1, ROWS).astype(np.float32) - np.float32(0.3)
    same = open_dataset(studio.workspace, dataset(studio))
    write_scores(studio.workspace, same, values, key="k2", scorer="s2", teacher="t", threshold=0.0, info={})
    studio.choose(score_key="k")
    rows = ids(studio, order="disagreement", size=100)
    assert sorted(rows) == list(range(100, 130))
    assert rows[0] in range(112, 118)  # as far from one line as from the other


def test_a_filter_is_read_in_its_own_order_and_says_how_many_it_selects(studio: Studio) -> None:
    batch = studio.review_queue.batch(dataset(studio), row_filter=RowFilter(low=0.9, facets=(("origin", "mix"),), order="-score"), size=3)
    assert [item.row_id for item in batch.items] == [191, 193, 195]
    assert batch.matching == 5


def test_a_filter_on_decided_rows_shows_them(studio: Studio) -> None:
    studio.audit.decide_many(dataset(studio), [3, 5], "remove")
    assert sorted(ids(studio, row_filter=RowFilter(decided="remove"))) == [3, 5]
    assert ids(studio, row_filter=RowFilter(low=-1.0, high=-0.94)) == [6, 4, 2, 1, 0]


def test_a_dataset_without_scores_is_read_at_random(tmp_path: Path) -> None:
    studio = Studio(Workspace.open(tmp_path / "w"))
    rows: list[Row] = [{"prompt": f"p{at}", "response": "r"} for at in range(30)]
    made = write_dataset(studio.workspace, rows, name="d", role="user")
    batch = studio.review_queue.batch(made.id, size=30)
    assert sorted(item.row_id for item in batch.items) == list(range(30))
    assert {item.why for item in batch.items} == {"unscored"}


def test_an_unknown_order_names_the_known_ones(studio: Studio) -> None:
    with pytest.raises(SpecError, match="borderline, highest, disagreement, random, approval"):
        ids(studio, order="best")
