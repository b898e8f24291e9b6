from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import ScoreSet, write_scores
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio import bulk
from reft_studio.studio.row_filter import RowFilter
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace

ROWS: list[Row] = [
    {"prompt": "first review", "response": "good", "origin": "task"},
    {"prompt": "open a lock", "response": "no", "origin": "mix"},
    {"prompt": "second review", "response": "bad", "origin": "task"},
    {"prompt": "open a jar", "response": "twist", "origin": "mix"},
]
SCORES = [-0.5, 0.6, 0.1, float("nan")]


@pytest.fixture
def scores(workspace: Workspace) -> ScoreSet:
    dataset = write_dataset(workspace, ROWS, name="four rows", role="user")
    values = np.array(SCORES, dtype=np.float32)
    return write_scores(workspace, dataset, values, key="k", scorer="s", teacher="t", threshold=0.0, info={})


def chosen(workspace: Workspace, scores: ScoreSet | None, *, overrule: bool = False, **wanted: Any) -> bulk.Selection:
    dataset = write_dataset(workspace, ROWS, name="four rows", role="user")
    decided = DecisionLog(workspace).decided(dataset.id)
    threshold = None if scores is None else 0.0
    return bulk.select(workspace, dataset, scores, threshold, decided, RowFilter(**wanted), overrule=overrule)


def test_sides_share_out_all_rows(workspace: Workspace, scores: ScoreSet) -> None:
    found = {side: chosen(workspace, scores, side=side).row_ids.tolist() for side in ("flagged", "kept", "unscored", "all")}
    assert found == {"flagged": [1, 2], "kept": [0], "unscored": [3], "all": [0, 1, 2, 3]}


def test_words_and_origin_narrow_the_selection(workspace: Workspace, scores: ScoreSet) -> None:
    mix = (("origin", "mix"),)
    assert chosen(workspace, scores, search="REVIEW").row_ids.tolist() == [0, 2]
    assert chosen(workspace, scores, facets=mix).row_ids.tolist() == [1, 3]
    assert chosen(workspace, scores, side="flagged", facets=mix, search="open").row_ids.tolist() == [1]


def test_rows_a_person_decided_are_left_alone_unless_overruled(workspace: Workspace, scores: ScoreSet) -> None:
    DecisionLog(workspace).decide(scores.dataset, 1, "keep")
    careful, firm = chosen(workspace, scores, side="flagged"), chosen(workspace, scores, side="flagged", overrule=True)
    assert (careful.row_ids.tolist(), careful.matched, careful.decided) == ([2], 2, 1)
    assert (firm.row_ids.tolist(), firm.matched, firm.decided) == ([1, 2], 2, 1)


def test_the_order_of_a_filter_does_not_matter(workspace: Workspace, scores: ScoreSet) -> None:
    assert chosen(workspace, scores, order="borderline").row_ids.tolist() == [0, 1, 2, 3]


def test_without_scores_no_row_is_flagged_or_kept(workspace: Workspace) -> None:
    assert chosen(workspace, None, side="unscored").row_ids.tolist() == [0, 1, 2, 3]
    with pytest.raises(SpecError, match="no scores"):
        chosen(workspace, None, side="flagged")


def test_rows_without_score_or_marked_unsure_are_undecided(workspace: Workspace, scores: ScoreSet) -> None:
    log = DecisionLog(workspace)
    dataset = write_dataset(workspace, ROWS, name="four rows", role="user")
    assert bulk.undecided(dataset, scores, log.decided(dataset.id)).tolist() == [3]
    log.decide(dataset.id, 0, "unsure")
    log.decide(dataset.id, 3, "keep")
    assert bulk.undecided(dataset, scores, log.decided(dataset.id)).tolist() == [0]


def test_one_act_decides_what_was_counted_and_says_so_where_no_reason_is_given(workspace: Workspace, scores: ScoreSet) -> None:
    studio = Studio(workspace)
    studio.audit.decide(scores.dataset, 1, "keep", by="Ana")
    flagged = RowFilter(side="flagged")
    assert studio.audit.decide_selected(scores.dataset, flagged, "remove", "  ", by="Ben") == 1
    (entry,) = studio.log.current_of(scores.dataset, [2]).values()
    assert (entry.action, entry.reason, entry.decided_by, entry.seen) == ("remove", "decided in bulk", "human:Ben", False)
    assert studio.audit.decide_selected(scores.dataset, flagged, "remove", "clear cases", overrule=True, by="Ben") == 2
    assert {one.reason for one in studio.log.current_of(scores.dataset, [1, 2]).values()} == {"clear cases"}
