"""Scores that can be read while they are made: the rows so far, each as it will stay, the others marked as not yet reached."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.errors import SpecError, StoreError
from reft_studio.fingerprint import of_file
from reft_studio.lab import sets
from reft_studio.models.session import Session
from reft_studio.progress import Silent
from reft_studio.scoring import engine, partial, plan, refusal_similarity
from reft_studio.scoring.partial import PartialScores, quick_scores, require_finished
from reft_studio.scoring.refusal_similarity import score
from reft_studio.scoring.scores import ScoreSet, list_score_sets, open_score_set, write_scores
from reft_studio.scoring.shards import EMPTY, NOT_REACHED, shards
from reft_studio.scoring.work import Scored
from reft_studio.store.decided import decided
from reft_studio.studio.row_query import RowFilter, positions
from reft_studio.teacher.teacher import open_teacher
from reft_studio.workspace import Workspace

MADE = {"key": "k1", "scorer": "refusal_feature", "teacher": "lab", "threshold": 0.1}


def five_rows(workspace: Workspace) -> Dataset:
    return write_dataset(workspace, [{"prompt": f"p{at}", "response": "r"} for at in range(5)], name="five", role="user")


def half(workspace: Workspace, dataset: Dataset) -> tuple[PartialScores, ScoreSet]:
    """Row 0 is not reached, row 1 cannot be scored, row 3 is not reached, rows 2 and 4 have scores."""
    result = Scored.empty(5)
    result.put(1, np.array([np.nan, 0.5], dtype=np.float32), np.array([EMPTY, 0], dtype=np.uint8))
    result.put(4, np.array([0.9], dtype=np.float32), np.array([0], dtype=np.uint8))
    writer = PartialScores(workspace, dataset, result, **MADE)  # type: ignore[arg-type]
    writer.write()
    return writer, open_score_set(workspace, dataset.id, "k1")


def test_a_snapshot_tells_rows_not_reached_from_rows_without_a_score(workspace: Workspace) -> None:
    dataset = five_rows(workspace)
    _, found = half(workspace, dataset)
    assert (found.finished, found.reached, found.missing, found.unscored) == (False, 3, 3, 1)
    assert found.order().tolist() == [4, 2, 1, 0, 3]
    assert found.not_reached().tolist() == [True, False, False, True, False]
    assert found.reasons([0, 1, 2]) == ["not yet reached", "empty prompt", None]
    assert found.info["missing_reasons"] == {"empty prompt": 1}
    assert [one.key for one in list_score_sets(workspace, dataset.id)] == ["k1"]


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (RowFilter(side="unreached"), [0, 3]),
        (RowFilter(side="unscored"), [1]),
        (RowFilter(side="flagged"), [4, 2]),
        (RowFilter(side="kept"), []),
        (RowFilter(order="-score"), [2, 4, 1, 0, 3]),
        (RowFilter(side="unreached", search="p3"), [3]),
        (RowFilter(side="unscored", search="p3"), []),
        (RowFilter(side="unscored", search="p1"), [1]),
    ],
)
def test_rows_not_reached_are_a_filter_of_their_own(workspace: Workspace, wanted: RowFilter, rows: list[int]) -> None:
    dataset = five_rows(workspace)
    _, found = half(workspace, dataset)
    assert positions(workspace, dataset, found, 0.1, wanted, decided(workspace, dataset.id)).tolist() == rows


def test_three_snapshots_stay_and_finished_scores_take_their_place(workspace: Workspace) -> None:
    dataset = five_rows(workspace)
    writer, first = half(workspace, dataset)
    with writer.shown():
        for _ in range(4):
            writer.write()
        assert [path.name for path in sorted(writer.folder.iterdir())] == ["00000003", "00000004", "00000005"]
        assert not first.folder.exists()
        write_scores(workspace, dataset, np.zeros(5, dtype=np.float32), **MADE, info={})  # type: ignore[arg-type]
    assert not writer.folder.exists()
    assert open_score_set(workspace, dataset.id, "k1").finished
    assert len(list_score_sets(workspace, dataset.id)) == 1


def test_a_snapshot_that_takes_long_is_taken_seldom(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, _ = half(workspace, five_rows(workspace))
    clock = iter([100.0, 103.0, 103.0 + 59.0, 103.0 + 60.0])
    monkeypatch.setattr(partial.time, "monotonic", lambda: next(clock))
    writer.write()  # 3 s: at most a twentieth of the time
    assert [writer.due, writer.due] == [False, True]


def test_what_needs_all_rows_says_how_many_are_scored(workspace: Workspace) -> None:
    _, found = half(workspace, five_rows(workspace))
    with pytest.raises(SpecError, match=r"Only 3 of 5 rows are scored so far.*so freezing must wait"):
        require_finished(found, "freezing")
    require_finished(None, "freezing")


# --- with a model ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session() -> Session:
    return Session.open("lab")


class Watching(Silent):
    """Keeps what the app sees after each step, (reached, scores), and stops the work once so many rows are there."""

    def __init__(self, workspace: Workspace, dataset: Dataset, *, until: int) -> None:
        super().__init__()
        self.workspace, self.dataset, self.until = workspace, dataset, until
        self.seen: list[tuple[Any, Any]] = []

    def progress(self, done: int, total: int, **metrics: float) -> None:
        for one in list_score_sets(self.workspace, self.dataset.id):
            self.seen.append((~one.not_reached(), one.scores()))
        if self.seen and self.seen[-1][0].sum() >= self.until:
            raise InterruptedError


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 60 rows, batches of 200 tokens, stretches of two batches, a snapshot after each batch."""
    monkeypatch.setattr(refusal_similarity, "shards", lambda dataset: shards(dataset, rows=60))
    monkeypatch.setitem(engine.BUDGET, "cpu", 200)
    monkeypatch.setattr(plan, "STRETCH", 2)
    monkeypatch.setattr(PartialScores, "due", True)


def scored(workspace: Workspace, session: Session, dataset: Dataset, progress: Any, first: Any = None) -> ScoreSet:
    return score(workspace, dataset, open_teacher(workspace, "lab"), session, progress, first=first)


@pytest.mark.usefixtures("small")
def test_rows_are_scored_in_the_order_asked_for_and_stay_as_they_were_first_seen(
    workspace: Workspace, session: Session, tmp_path: Any
) -> None:
    dataset = write_dataset(workspace, sets.user_data(rows=100), name="rows", role="user")
    first = np.linspace(-1, 1, 100, dtype=np.float32)[np.random.default_rng(0).permutation(100)]
    watching = Watching(workspace, dataset, until=15)
    with pytest.raises(InterruptedError):
        scored(workspace, session, dataset, watching, first)
    (stopped,) = list_score_sets(workspace, dataset.id)
    reached = ~stopped.not_reached()
    assert 15 <= stopped.reached < 60 and not reached[60:].any()
    ahead = np.argsort(-first[:60])[:8]  # of the first shard, well within the stretches that were done
    assert reached[ahead].all()

    finished = scored(workspace, session, dataset, Watching(workspace, dataset, until=1000))  # goes on in its own order, asked or not
    assert finished.finished and finished.missing == 0 and not finished.folder.with_name(f"{finished.key}.partial").exists()
    for there, values in watching.seen:
        assert np.array_equal(values[there], finished.scores()[there]) and np.isnan(values[~there]).all()
    elsewhere = Workspace.open(tmp_path / "other")
    usual = scored(elsewhere, session, write_dataset(elsewhere, sets.user_data(rows=100), name="rows", role="user"), Silent())
    assert np.allclose(usual.scores(), finished.scores(), rtol=0, atol=1e-4)


@pytest.mark.usefixtures("small")
def test_a_run_that_was_stopped_has_the_bits_of_one_that_was_not(workspace: Workspace, session: Session, tmp_path: Any) -> None:
    rows, first = sets.user_data(rows=80), np.linspace(1, -1, 80, dtype=np.float32)
    dataset = write_dataset(workspace, rows, name="rows", role="user")
    with pytest.raises(InterruptedError):
        scored(workspace, session, dataset, Watching(workspace, dataset, until=65), first)  # in the second shard
    found = scored(workspace, session, dataset, Silent(), first)
    elsewhere = Workspace.open(tmp_path / "other")
    whole = scored(elsewhere, session, write_dataset(elsewhere, rows, name="rows", role="user"), Silent(), first)
    assert of_file(found.folder / "scores.parquet") == of_file(whole.folder / "scores.parquet")


def test_finished_scores_by_words_say_where_to_begin(workspace: Workspace) -> None:
    dataset = five_rows(workspace)
    assert quick_scores(workspace, dataset) is None
    values = np.array([0.1, np.nan, 0.3, 0.2, 0.0], dtype=np.float32)
    write_scores(workspace, dataset, values, key="w", scorer="tfidf", teacher="tfidf", threshold=0.0, info={})
    assert np.array_equal(found := quick_scores(workspace, dataset), values, equal_nan=True) and found is not None
    with pytest.raises(StoreError):
        open_score_set(workspace, dataset.id, "none")
    assert max(partial.REASONS) == NOT_REACHED
