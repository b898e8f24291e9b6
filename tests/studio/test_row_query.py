"""Rows selected and ranked: against a slow and plain way to do the same, on rows with gaps in their ids, ties and missing scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.data.index.facets import keep_facet
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import ScoreSet, flagged, grid, write_scores
from reft_studio.store.decided import decided
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio.row_order import Nearest, whole
from reft_studio.studio.row_query import RowFilter, positions, ranked
from reft_studio.studio.rows import Rows
from reft_studio.workspace import Workspace

ROWS = 300
ORIGINS = ("mix", "task", "")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.open(Path(tmp_path_factory.mktemp("selection")) / "workspace")


@pytest.fixture(scope="module")
def values() -> NDArray[np.float32]:
    drawn = np.random.default_rng(0).normal(0, 0.3, ROWS).clip(-1, 1).round(2).astype(np.float32)  # many ties
    drawn[[3, 50, 299]] = np.nan
    return drawn


@pytest.fixture(scope="module")
def dataset(workspace: Workspace) -> Dataset:
    rows: list[Any] = [
        {"row_id": 2 * at + at // 7, "prompt": f"{'bread' if at % 3 else 'Keys'} {at}", "response": "ok", "origin": ORIGINS[at % 3]}
        for at in range(ROWS)
    ]
    return write_dataset(workspace, rows, name="three hundred", role="user")


@pytest.fixture(scope="module")
def score(workspace: Workspace, dataset: Dataset, values: NDArray[np.float32]) -> ScoreSet:
    facts: dict[str, Any] = {"scorer": "s", "teacher": "lab", "threshold": 0.0, "info": {}}
    write_scores(workspace, dataset, -values, key="other", **facts)
    return write_scores(workspace, dataset, values, key="k", **facts)


@pytest.fixture(scope="module", autouse=True)
def decisions(workspace: Workspace, dataset: Dataset) -> dict[int, str]:
    made = {10: "keep", 11: "remove", 200: "unsure", 3: "remove"}
    log, ids = DecisionLog(workspace), row_ids(dataset)
    for at, action in made.items():
        log.decide(dataset.id, int(ids[at]), action, reason="", by="human:ana", score=0.0, threshold=0.0)  # type: ignore[arg-type]
    return made


def row_ids(dataset: Dataset) -> NDArray[np.int64]:
    return np.asarray(dataset.table(["row_id"]).column(0).to_numpy())


def chosen(workspace: Workspace, dataset: Dataset, score: ScoreSet | None, threshold: float | None, wanted: RowFilter) -> NDArray[np.int64]:
    return positions(workspace, dataset, score, threshold, wanted, decided(workspace, dataset.id))


SIDES = ("all", "flagged", "kept", "unscored")
RANGES: tuple[tuple[float | None, float | None], ...] = ((None, None), (0.1, None), (None, 0.2), (-0.2, 0.31), (0.3, 0.1), (1.0, 1.0))
MORE: tuple[dict[str, Any], ...] = (
    {},
    {"facets": (("origin", "mix"),)},
    {"facets": (("origin", "mix"), ("origin", "(none)"), ("length", "up to 50"))},
    {"decided": "open"},
    {"decided": "remove"},
    {"search": "keys"},
    {"other": ("other", 0.1), "change": "added"},
)


ORDERS = ("score", "-score", "borderline", "file")


@pytest.mark.parametrize(
    ("more", "order"), [*(({}, order) for order in ORDERS), *((more, ORDERS[at % 4]) for at, more in enumerate(MORE[1:]))]
)
def test_every_filter_selects_what_the_plain_way_selects(
    workspace: Workspace,
    dataset: Dataset,
    score: ScoreSet,
    values: NDArray[np.float32],
    decisions: dict[int, str],
    order: Any,
    more: dict[str, Any],
) -> None:
    for side in SIDES:
        for low, high in RANGES:
            for threshold in (0.137,) if more else (0.0, 0.137, -1.0, 1.0):
                wanted = RowFilter(side=side, low=low, high=high, order=order, **more)  # type: ignore[arg-type]
                got = chosen(workspace, dataset, score, threshold, wanted).tolist()
                expected = [at for at in range(ROWS) if fits(at, values, decisions, threshold, wanted)]
                assert sorted(got) == expected, wanted
                assert in_order(got, values, threshold, order), wanted


def fits(at: int, values: NDArray[np.float32], decisions: dict[int, str], threshold: float, wanted: RowFilter) -> bool:
    value = values[at]
    missing, over = bool(np.isnan(value)), not np.isnan(value) and bool(flagged(values[at : at + 1], threshold)[0])
    sides = {"all": True, "flagged": over, "kept": not over and not missing, "unscored": missing}
    bin_ = None if missing else int(grid(float(value)))
    between = (wanted.low is None or (bin_ is not None and bin_ >= int(grid(wanted.low)))) and (
        wanted.high is None or (bin_ is not None and bin_ <= int(grid(wanted.high)))
    )
    labels = {"origin": ORIGINS[at % 3] or "(none)", "length": "up to 50"}
    names = {name for name, _ in wanted.facets}
    facets = all(any(labels[name] == label for key, label in wanted.facets if key == name) for name in names)
    states = {"any": True, "open": at not in decisions}
    text = not wanted.search or (wanted.search == "keys" and at % 3 == 0)
    there = wanted.other is None or (not missing and bool(flagged(-values[at : at + 1], wanted.other[1])[0]) and not over)
    return sides[wanted.side] and between and facets and states.get(wanted.decided, decisions.get(at) == wanted.decided) and text and there


def in_order(got: list[int], values: NDArray[np.float32], threshold: float, order: str) -> bool:
    if order == "file":
        return got == sorted(got)
    taken = values[got].astype(np.float64)
    keys = {"score": -taken, "-score": taken, "borderline": np.abs(taken - threshold)}[order]
    keys = np.where(np.isnan(keys), np.inf, keys)
    return bool((np.diff(keys[np.isfinite(keys)]) >= 0).all()) and not np.isinf(keys)[: int(np.isfinite(keys).sum())].any()


@pytest.mark.parametrize("order", ORDERS)
def test_pages_put_together_are_the_whole(workspace: Workspace, dataset: Dataset, score: ScoreSet, order: Any) -> None:
    held = decided(workspace, dataset.id)
    for more in MORE[:3]:
        for threshold in (-0.3, 0.0, 0.2, 1.0):
            found = ranked(workspace, dataset, score, threshold, RowFilter(order=order, **more), held)
            pages = [found.page(offset, 7).tolist() for offset in range(0, len(found), 7)]
            assert [place for page in pages for place in page] == whole(found).tolist()
            assert found.page(len(found), 7).tolist() == []


def test_nearest_rows_are_found_without_ranking_all() -> None:
    draw = np.random.default_rng(1)
    for _ in range(50):
        scores = draw.normal(0, 0.4, draw.integers(1, 40)).round(1).astype(np.float32)
        places = np.argsort(-scores, kind="stable")
        for threshold in (0.0, 0.25, -2.0, 2.0):
            nearest = Nearest(places, scores, threshold)
            for offset in range(len(scores) + 1):
                assert nearest.page(offset, 3).tolist() == whole(nearest)[offset : offset + 3].tolist()


def test_a_page_says_what_is_known_of_each_row(workspace: Workspace, dataset: Dataset, score: ScoreSet) -> None:
    table, ids = Rows(workspace), row_ids(dataset)
    page = table.page(dataset.id, "k", 0.0, RowFilter(order="file"), offset=3, limit=9)
    assert (page.total, page.offset, len(page.rows)) == (ROWS, 3, 9)
    assert [row["row_id"] for row in page.rows] == ids[3:12].tolist()
    assert page.rows[0]["score"] is None and page.rows[0]["decision"] == "remove"
    assert [row["decision"] for row in page.rows[7:]] == ["keep", "remove"]
    assert page.rows[1]["flagged"] == (page.rows[1]["score"] >= 0)
    assert table.count(dataset.id, "k", 0.0, RowFilter(decided="unsure")) == 1


def test_a_decision_moves_a_row_between_states_at_once(workspace: Workspace, dataset: Dataset, score: ScoreSet) -> None:
    table, log = Rows(workspace), DecisionLog(workspace)
    row = table.page(dataset.id, "k", 0.0, RowFilter(decided="open"), limit=1).rows[0]["row_id"]
    before = table.count(dataset.id, "k", 0.0, RowFilter(decided="open"))
    log.decide(dataset.id, row, "keep", reason="", by="human:ana", score=0.1, threshold=0.0)
    assert table.count(dataset.id, "k", 0.0, RowFilter(decided="open")) == before - 1
    log.undo(dataset.id, "human:ana")
    assert table.count(dataset.id, "k", 0.0, RowFilter(decided="open")) == before


def test_rows_on_which_two_reviewers_differ_are_a_filter(workspace: Workspace, dataset: Dataset, score: ScoreSet) -> None:
    log, row = DecisionLog(workspace), int(row_ids(dataset)[20])
    for who, action in (("ana", "keep"), ("bo", "remove")):
        log.decide(dataset.id, row, action, reason="", by=f"human:{who}", score=0.1, threshold=0.0)  # type: ignore[arg-type]
    assert chosen(workspace, dataset, score, 0.0, RowFilter(decided="conflict")).tolist() == [20]
    log.undo(dataset.id, "human:bo")
    assert chosen(workspace, dataset, score, 0.0, RowFilter(decided="conflict")).tolist() == []
    log.undo(dataset.id, "human:ana")


def test_a_question_in_sql_is_a_filter_that_follows_the_line_and_the_decisions(
    workspace: Workspace, dataset: Dataset, score: ScoreSet, values: NDArray[np.float32]
) -> None:
    over = RowFilter(order="file", sql="SELECT row_id FROM scores WHERE flagged")
    for threshold in (0.0, 0.3):
        assert chosen(workspace, dataset, score, threshold, over).tolist() == np.flatnonzero(flagged(values, threshold)).tolist()
    removed = RowFilter(order="file", sql="SELECT row_id FROM decisions WHERE action = 'remove'", facets=(("origin", "mix"),))
    assert chosen(workspace, dataset, score, 0.0, removed).tolist() == [3]


def test_without_scores_rows_come_in_the_order_of_the_file(workspace: Workspace, dataset: Dataset) -> None:
    assert chosen(workspace, dataset, None, None, RowFilter()).tolist() == list(range(ROWS))
    assert chosen(workspace, dataset, None, None, RowFilter(side="unscored")).tolist() == list(range(ROWS))
    assert chosen(workspace, dataset, None, None, RowFilter(facets=(("origin", "mix"),))).tolist() == list(range(0, ROWS, 3))


@pytest.mark.parametrize("wanted", [RowFilter(side="flagged"), RowFilter(low=0.0), RowFilter(other=("k", 0.1))])
def test_a_filter_that_needs_scores_says_so(workspace: Workspace, dataset: Dataset, wanted: RowFilter) -> None:
    with pytest.raises(SpecError, match="Score the dataset first"):
        chosen(workspace, dataset, None, None, wanted)


def test_a_new_inspection_is_heeded_at_once(workspace: Workspace, dataset: Dataset, score: ScoreSet) -> None:
    wanted = RowFilter(facets=(("language", "English"),), order="file")
    for codes in (np.arange(ROWS) % 2, np.arange(ROWS) % 3 > 0):
        keep_facet(dataset, "language", ["English", "German"], codes.astype(np.uint8))
        assert chosen(workspace, dataset, score, 0.0, wanted).tolist() == np.flatnonzero(codes == 0).tolist()


def test_a_label_that_no_row_can_have_is_told_without_repeating_it(workspace: Workspace, dataset: Dataset, score: ScoreSet) -> None:
    with pytest.raises(SpecError, match="No row of this dataset") as told:
        chosen(workspace, dataset, score, 0.0, RowFilter(facets=(("origin", "somebody's text"),)))
    assert "somebody" not in str(told.value)
