"""Slices, changes and reasons on eight rows that can be counted by hand, and the calibration beside a file of the lab."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reft_studio.data.dataset import write_dataset
from reft_studio.errors import SpecError, StoreError
from reft_studio.scoring.scores import ScoreSet, flagged, write_scores
from reft_studio.studio.measures import MOST_SLICES, Measures
from reft_studio.tasks import lab_data
from reft_studio.workspace import Workspace

NAN = float("nan")
VALUES = [0.9, -0.4, 0.02, NAN, -0.019, -0.9, 0.5, -0.021]
ORIGINS = ["mix", "task", "mix", "task", "task", "", "mix", "task"]
TRUTH = [True, False, True, None, False, False, False, False]


def write(workspace: Workspace, values: list[float], *, key: str = "k", origins: list[str] = ORIGINS, info: dict[str, Any]) -> ScoreSet:
    rows: list[Any] = [
        {"prompt": f"p{at}", "response": "r", "origin": origin, "known_harmful": TRUTH[at % len(TRUTH)]}
        for at, origin in enumerate(origins)
    ]
    dataset = write_dataset(workspace, rows, name="rows", role="user")
    scores = np.array(values, dtype=np.float32)
    return write_scores(workspace, dataset, scores, key=key, scorer="s", teacher="lab", threshold=0.0, info=info)


@pytest.fixture
def score(workspace: Workspace) -> ScoreSet:
    return write(workspace, VALUES, info={"missing_reasons": {"empty prompt": 1}})


def test_slices_hold_every_row_and_the_scores_of_those_that_have_one(workspace: Workspace, score: ScoreSet) -> None:
    found = Measures(workspace).slices(score.dataset, score.key, "origin")
    assert (found.title, [(one.label, one.rows) for one in found.slices]) == ("Origin", [("task", 4), ("mix", 3), ("(none)", 1)])
    assert found.slices[1].bins == [[1020, 1, 1, 0], [1500, 1, 0, 1], [1900, 1, 1, 0]]
    assert sum(rows for _, rows, _, _ in found.slices[0].bins) == 3, "one of the four has no score"


def test_the_rarest_labels_are_counted_together(workspace: Workspace) -> None:
    origins = [f"source {at}" for at in range(60)] + ["often"] * 4
    score = write(workspace, [0.1] * 64, origins=origins, info={})
    slices = Measures(workspace).slices(score.dataset, score.key, "origin").slices
    assert len(slices) == MOST_SLICES and slices[0].label == "often"
    assert (slices[-1].rows, slices[-1].labels, slices[-1].bins[0][1]) == (22, 22, 22)
    assert sum(one.rows for one in slices) == 64


def test_a_facet_that_needs_an_inspection_says_so(workspace: Workspace, score: ScoreSet) -> None:
    with pytest.raises(SpecError, match="inspected"):
        Measures(workspace).slices(score.dataset, score.key, "language")
    assert "truth" not in Measures(workspace).facets(score.dataset)


def test_another_line_on_the_same_scores_adds_and_drops_rows_by_truth(workspace: Workspace, score: ScoreSet) -> None:
    """From 0.1 to -0.02 two rows more are flagged: 0.02 (harmful) and -0.019 (harmless)."""
    found = Measures(workspace).changes(score.dataset, score.key, 0.1, other_key=score.key, other_threshold=-0.02)
    assert (found.added, found.dropped, found.both, found.neither) == ([1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 3, 0])
    assert found.unscored == 1


def test_two_scorers_are_compared_where_both_have_a_score(workspace: Workspace, score: ScoreSet) -> None:
    write(workspace, [-0.5, 0.3, 0.4, 0.9, NAN, -1.0, 0.6, -0.2], key="other", info={})
    found = Measures(workspace).changes(score.dataset, score.key, 0.0, other_key="other", other_threshold=0.0)
    assert (found.dropped, found.added, found.both) == ([1, 0, 0], [0, 1, 0], [1, 1, 0])
    assert found.unscored == 2


@pytest.mark.parametrize(("here", "there"), [(0.0, 0.0), (0.3, -0.2), (-1.0, 1.0)])
def test_changes_are_those_that_counting_row_by_row_finds(workspace: Workspace, here: float, there: float) -> None:
    draw = np.random.default_rng(0)
    values, others = ([NAN if gone else float(value) for value, gone in zip(*pair, strict=True)] for pair in _drawn(draw, 500))
    score = write(workspace, values, origins=["a"] * 500, info={})
    write(workspace, others, origins=["a"] * 500, key="other", info={})
    for key, theirs in (("other", others), (score.key, values)):
        found = Measures(workspace).changes(score.dataset, score.key, here, other_key=key, other_threshold=there)
        known = ~(np.isnan(values) | np.isnan(theirs))
        ours, other = (flagged(np.array(each, dtype=np.float32), line) for each, line in ((values, here), (theirs, there)))
        assert sum(found.added) == int((known & ~ours & other).sum())
        assert sum(found.dropped) == int((known & ours & ~other).sum())
        assert (sum(found.both), found.unscored) == (int((known & ours & other).sum()), int((~known).sum()))


def _drawn(draw: np.random.Generator, rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(draw.uniform(-1, 1, rows), draw.random(rows) < 0.1) for _ in range(2)]


def test_scores_that_are_gone_are_named(workspace: Workspace, score: ScoreSet) -> None:
    with pytest.raises(StoreError, match="not been scored"):
        Measures(workspace).changes(score.dataset, score.key, 0.0, other_key="gone", other_threshold=0.0)


def test_rows_without_a_score_are_told_with_their_reasons(workspace: Workspace, score: ScoreSet) -> None:
    assert Measures(workspace).unscored(score.dataset, score.key) == [("empty prompt", 1)]
    silent = write(workspace, VALUES, key="silent", info={})
    assert Measures(workspace).unscored(silent.dataset, "silent") == [("the scorer did not say why", 1)]
    whole = write(workspace, [0.1] * 8, key="whole", info={})
    assert Measures(workspace).unscored(whole.dataset, "whole") == []


def test_the_calibration_comes_as_counts_with_the_drift_of_the_file(workspace: Workspace) -> None:
    dataset = lab_data.sample(workspace, rows=60)
    draw = np.random.default_rng(0)
    facts: dict[str, Any] = {"key": "k", "scorer": "s", "teacher": "lab", "threshold": 0.0, "info": {"unfamiliar_share": 0.4}}
    score = write_scores(workspace, dataset, draw.uniform(-0.2, 0.2, 60).astype(np.float32), **facts)
    shift = Measures(workspace).shift(dataset.id, score.key)
    assert shift is not None and shift.drift is not None
    assert sum(count for _, count in shift.harmful) == 300 and sum(count for _, count in shift.harmless) == 300
    assert shift.drift.verdict == "shifted" and shift.unfamiliar == 0.4 and shift.same_template is None
