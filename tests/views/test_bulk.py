from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import ScoreSet, write_scores
from reft_studio.store.decisions import DecisionLog
from reft_studio.views import bulk
from reft_studio.workspace import Workspace

ROWS: list[Row] = [
    {"prompt": "first review", "response": "good", "origin": "task"},
    {"prompt": "open a lock", "response": "no", "origin": "mix"},
    {"prompt": "second review", "response": "bad", "origin": "task"},
    {"prompt": "open a jar", "response": "twist", "origin": "mix"},
]
SCORES = [-0.5, 0.6, 0.1, float("nan")]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path)


@pytest.fixture
def scores(workspace: Workspace) -> ScoreSet:
    dataset = write_dataset(workspace, ROWS, name="four rows", role="user")
    values = np.array(SCORES, dtype=np.float32)
    return write_scores(workspace, dataset, values, key="k", scorer="s", teacher="t", threshold=0.0, info={})


def chosen(workspace: Workspace, scores: ScoreSet | None, **wanted: object) -> bulk.Selection:
    dataset = write_dataset(workspace, ROWS, name="four rows", role="user")
    log = DecisionLog(workspace)
    threshold = None if scores is None else 0.0
    return bulk.select(dataset, scores, threshold, log.current(dataset.id), **wanted)  # type: ignore[arg-type]


def test_sides_share_out_all_rows(workspace: Workspace, scores: ScoreSet) -> None:
    found = {side: chosen(workspace, scores, side=side).row_ids for side in bulk.SIDES}
    assert found == {"flagged": [1, 2], "kept": [0], "unscored": [3], "all": [0, 1, 2, 3]}


def test_words_and_origin_narrow_the_selection(workspace: Workspace, scores: ScoreSet) -> None:
    assert chosen(workspace, scores, search="REVIEW").row_ids == [0, 2]
    assert chosen(workspace, scores, origin="mix").row_ids == [1, 3]
    assert chosen(workspace, scores, side="flagged", origin="mix", search="open").row_ids == [1]


def test_rows_a_person_decided_are_left_alone_unless_overruled(workspace: Workspace, scores: ScoreSet) -> None:
    DecisionLog(workspace).decide(scores.dataset, 1, "keep")
    careful, firm = chosen(workspace, scores, side="flagged"), chosen(workspace, scores, side="flagged", overrule=True)
    assert (careful.row_ids, careful.matched, careful.decided) == ([2], 2, 1)
    assert (firm.row_ids, firm.matched, firm.decided) == ([1, 2], 2, 1)


def test_without_scores_no_row_is_flagged_or_kept(workspace: Workspace) -> None:
    assert chosen(workspace, None, side="unscored").row_ids == [0, 1, 2, 3]
    with pytest.raises(SpecError, match="no scores"):
        chosen(workspace, None, side="flagged")


def test_an_unknown_side_names_the_allowed_ones(workspace: Workspace, scores: ScoreSet) -> None:
    with pytest.raises(SpecError, match="flagged, kept, unscored, all"):
        chosen(workspace, scores, side="upper")


def test_rows_without_score_or_marked_unsure_are_undecided(workspace: Workspace, scores: ScoreSet) -> None:
    log = DecisionLog(workspace)
    dataset = write_dataset(workspace, ROWS, name="four rows", role="user")
    assert bulk.undecided(dataset, scores, log.current(dataset.id)) == [3]
    log.decide(dataset.id, 0, "unsure")
    log.decide(dataset.id, 3, "keep")
    assert bulk.undecided(dataset, scores, log.current(dataset.id)) == [0]
