"""Scores as files, and the one grid on which scores and thresholds are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reft_studio import integrity
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.errors import StoreError
from reft_studio.scoring.scores import BINS, ScoreSet, flagged, grid, histogram, list_score_sets, open_score_set, score_key, write_scores
from reft_studio.workspace import Workspace, read_json, write_json

NAN = float("nan")
VALUES = np.array([0.25, NAN, -0.5, 0.25, 1.0, NAN], dtype=np.float32)
IDS = [3, 4, 8, 9, 20, 21]


@pytest.fixture
def dataset(workspace: Workspace) -> Dataset:
    rows: list[Row] = [{"row_id": row_id, "prompt": f"question {row_id}", "response": "answer"} for row_id in IDS]
    return write_dataset(workspace, rows, name="six rows", role="user")


def stored(workspace: Workspace, dataset: Dataset, *, key: str = "k1") -> ScoreSet:
    return write_scores(workspace, dataset, VALUES, key=key, scorer="s", teacher="t", threshold=0.25, info={"layer": 2})


# --- grid ---------------------------------------------------------------------------------------------------------------------------


def test_the_grid_runs_from_minus_one_to_one_in_thousandths() -> None:
    assert grid(np.array([-1, -0.9996, -0.9994, 0, 0.0004, 0.0006, 1], dtype=np.float32)).tolist() == [0, 0, 1, 1000, 1000, 1001, 2000]
    assert BINS == 2001


def test_what_lies_beyond_a_cosine_by_rounding_falls_into_the_last_bins() -> None:
    assert grid(np.array([-1.0001, 1.0001])).tolist() == [0, 2000]


def test_a_score_is_flagged_at_its_own_threshold_however_both_were_rounded() -> None:
    for shown in np.arange(-1000, 1000) / 1000:
        single = np.array([shown], dtype=np.float32)  # 0.31 is not 0.31 in single precision
        assert flagged(single, float(shown)).all()
        assert not flagged(single, float(shown) + 0.001).any()


def test_a_row_without_a_score_is_never_flagged() -> None:
    assert flagged(VALUES, -1.0).tolist() == [True, False, True, True, True, False]
    assert flagged(VALUES, 0.25).tolist() == [True, False, False, True, True, False]
    assert flagged(np.array([NAN], dtype=np.float32), -1.0).tolist() == [False]
    assert flagged(np.zeros(0, dtype=np.float32), 0.0).tolist() == []


# --- histogram ----------------------------------------------------------------------------------------------------------------------


def test_bins_count_rows_by_truth_and_leave_out_rows_without_a_score() -> None:
    truth = [True, True, False, None, None, False]
    assert histogram(VALUES, truth) == [[500, 1, 0, 1], [1250, 2, 1, 0], [2000, 1, 0, 0]]


def test_bins_give_the_number_of_flagged_rows_at_any_threshold() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 500).astype(np.float32)
    bins = histogram(values, [None] * len(values))
    for threshold in np.linspace(-1, 1, 41):
        assert sum(count for place, count, *_ in bins if place >= grid(float(threshold))) == flagged(values, float(threshold)).sum()


def test_a_dataset_without_any_score_has_no_bins() -> None:
    assert histogram(np.array([NAN, NAN], dtype=np.float32), [True, None]) == []


# --- files --------------------------------------------------------------------------------------------------------------------------


def test_scores_come_back_in_dataset_order_with_the_ids_of_the_upload(workspace: Workspace, dataset: Dataset) -> None:
    scores = stored(workspace, dataset)
    assert np.array_equal(scores.scores(), VALUES, equal_nan=True) and scores.scores().dtype == np.float32
    assert scores.row_ids().tolist() == IDS
    assert (scores.rows, scores.missing, scores.threshold, scores.info) == (6, 2, 0.25, {"layer": 2})


def test_the_order_runs_from_the_highest_score_down_with_unscored_rows_last(workspace: Workspace, dataset: Dataset) -> None:
    assert stored(workspace, dataset).order().tolist() == [4, 0, 3, 2, 1, 5]


def test_nobody_can_change_scores_that_everybody_reads(workspace: Workspace, dataset: Dataset) -> None:
    scores = stored(workspace, dataset)
    for values in (scores.scores(), scores.row_ids()):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0


def test_score_sets_are_listed_oldest_first_and_another_teacher_gets_another_key(workspace: Workspace, dataset: Dataset) -> None:
    assert list_score_sets(workspace, dataset.id) == []
    keys = [score_key("s", teacher, created) for teacher, created in (("a", "1"), ("a", "2"), ("b", "1"))]
    assert len(set(keys)) == 3 and score_key("s", "a", "1") == keys[0]
    for key in keys:
        stored(workspace, dataset, key=key)
    assert [scores.key for scores in list_score_sets(workspace, dataset.id)] == keys


@pytest.mark.parametrize("damage", ["missing", "cut", "other version"])
def test_scores_that_cannot_be_read_ask_for_scoring_again(workspace: Workspace, dataset: Dataset, damage: str) -> None:
    folder: Path = stored(workspace, dataset, key=f"k-{damage.partition(' ')[0]}").folder
    if damage == "missing":
        (folder / "scorer.json").unlink()
    elif damage == "cut":
        (folder / "scores.parquet").write_bytes((folder / "scores.parquet").read_bytes()[:50])
    else:
        write_json(folder / "scorer.json", {**read_json(folder / "scorer.json"), "unheard_of": 1})
        integrity.seal(folder, ["scorer.json"])
    with pytest.raises(StoreError, match=r"Score (it|the rows)( again|)"):
        open_score_set(workspace, dataset.id, folder.name).scores()
