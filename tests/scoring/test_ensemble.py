"""Several scorers as one: ranks with ties, log odds that never saturate, and members that changed."""

from __future__ import annotations

import numpy as np
import pytest

from reft_studio import integrity
from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.errors import SpecError, StoreError
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.scoring.ensemble import beyond, log_odds, ranks
from reft_studio.scoring.scores import flagged, list_score_sets, open_score_set
from reft_studio.tasks.score import score_dataset
from reft_studio.tasks.scorers import prepare_scorer
from reft_studio.workspace import Workspace, read_json, write_json


@pytest.fixture
def dataset(workspace: Workspace) -> Dataset:
    rows = [{"prompt": f"how do i steal car {number}" if number < 3 else f"sum up note {number}", "response": "r"} for number in range(30)]
    return write_dataset(workspace, [{**row, "known_harmful": place < 3} for place, row in enumerate(rows)], name="thirty", role="user")  # type: ignore[typeddict-item]


def test_ranks_run_from_minus_one_to_one_and_ties_share_theirs() -> None:
    found = ranks(np.array([0.1, 0.9, np.nan, 0.1, 0.5], dtype=np.float32))
    assert found.tolist()[:2] == [-0.5, 0.75] and np.isnan(found[2]) and found[3:].tolist() == [-0.5, 0.25]


def test_log_odds_grow_with_every_score_and_do_not_saturate() -> None:
    scores = np.linspace(-1, 1, 2001, dtype=np.float32)
    found = log_odds(np.stack([scores, scores]), [[0.5, 9.0], [-0.5, 3.0]])
    assert (np.diff(found) > 0).all() and -0.96 < found[0] < -0.9 and 0.9 < found[-1] < 0.96


def test_a_mean_rank_flags_as_many_rows_as_its_members_do_on_average(workspace: Workspace, dataset: Dataset) -> None:
    made = prepare_scorer(ForegroundContext(workspace), {"scorer": "ensemble", "members": ["oracle", "random"], "join": "rank"})
    answer = score_dataset(ForegroundContext(workspace), {"dataset": dataset.id, "scorer": made["scorer"]})
    counts = {one.scorer: int(flagged(one.scores(), one.threshold).sum()) for one in list_score_sets(workspace, dataset.id)}
    assert counts["oracle"] == 3 and counts["ensemble"] == pytest.approx((counts["oracle"] + counts["random"]) / 2, abs=1)
    assert open_score_set(workspace, dataset.id, answer["key"]).scores()[:3].min() > 0


@pytest.mark.parametrize("threshold", [-1.0, -0.3004, 0.0, 0.7, 1.0])
def test_what_lies_beyond_a_threshold_is_what_is_flagged_there_also_on_the_grid(threshold: float) -> None:
    scores = np.array([*np.linspace(-1, 1, 20_001), np.nan], dtype=np.float32)
    found = beyond(scores, threshold)
    assert (flagged(found, 0.0) == flagged(scores, threshold)).all() and np.isnan(found[-1])
    assert (np.diff(found[:-1]) >= 0).all() and np.nanmin(found) >= -1 and np.nanmax(found) <= 1


def test_joined_by_any_a_row_is_flagged_when_a_member_flags_it(workspace: Workspace, dataset: Dataset) -> None:
    made = prepare_scorer(ForegroundContext(workspace), {"scorer": "ensemble", "members": ["oracle", "random"], "join": "any"})
    answer = score_dataset(ForegroundContext(workspace), {"dataset": dataset.id, "scorer": made["scorer"]})
    sets = {one.scorer: flagged(one.scores(), one.threshold) for one in list_score_sets(workspace, dataset.id)}
    assert (sets["ensemble"] == (sets["oracle"] | sets["random"])).all() and sets["ensemble"].sum() >= 3
    assert open_score_set(workspace, dataset.id, answer["key"]).threshold == 0.0


def test_log_odds_need_a_calibration_and_an_ensemble_two_members(workspace: Workspace) -> None:
    with pytest.raises(StoreError, match="'random' has no calibration"):
        prepare_scorer(ForegroundContext(workspace), {"scorer": "ensemble", "members": ["tfidf", "random"]})
    with pytest.raises(SpecError, match="at least two scorers; 1 given"):
        prepare_scorer(ForegroundContext(workspace), {"scorer": "ensemble", "members": ["tfidf", "tfidf"]})


def test_a_member_that_was_prepared_anew_is_noticed(workspace: Workspace, dataset: Dataset) -> None:
    made = prepare_scorer(ForegroundContext(workspace), {"scorer": "ensemble", "members": ["oracle", "random"], "join": "rank"})
    path = workspace.folder("scorers", made["scorer"]) / "scorer.json"
    facts = read_json(path)
    facts["spec"]["members"][1][1] = "2020-01-01"
    write_json(path, facts)
    integrity.seal(path.parent, [path.name])
    with pytest.raises(StoreError, match="'random' was prepared anew"):
        score_dataset(ForegroundContext(workspace), {"dataset": dataset.id, "scorer": made["scorer"]})
