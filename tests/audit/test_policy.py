from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from reft_studio.audit.decision import Action, Decision
from reft_studio.audit.held import ACTIONS
from reft_studio.audit.policy import OUTCOMES, effective, is_flagged, name, outcomes, overruled
from reft_studio.data.grid import to_bins

Decide = Callable[[int, Action], Decision]


@pytest.mark.parametrize(
    ("score", "outcome"), [(0.31, "remove"), (0.30, "remove"), (0.29, "keep"), (None, "undecided"), (float("nan"), "undecided")]
)
def test_without_a_person_the_threshold_decides_and_rows_at_it_are_removed(score: float | None, outcome: str) -> None:
    assert effective(score, 0.3, None) == outcome


@pytest.mark.parametrize("score", [-1.0, 0.9, None])
@pytest.mark.parametrize(("action", "outcome"), [("keep", "keep"), ("remove", "remove"), ("relabel", "keep"), ("unsure", "undecided")])
def test_a_persons_word_goes_before_the_score(decide: Decide, action: Action, outcome: str, score: float | None) -> None:
    assert effective(score, 0.3, decide(1, action)) == outcome


def test_a_cleared_row_is_up_to_the_threshold_again(decide: Decide) -> None:
    assert [effective(score, 0.3, decide(1, "clear")) for score in (0.5, 0.1, None)] == ["remove", "keep", "undecided"]


def test_one_row_and_many_rows_have_the_same_outcome(decide: Decide) -> None:
    scores = np.array([-1.0, 0.299, 0.3, 0.9, np.nan], dtype=np.float32)
    for code, action in enumerate(("clear", *ACTIONS)):
        found = outcomes(to_bins(scores), 0.3, np.full(len(scores), code, dtype=np.uint8))
        alone = [effective(None if np.isnan(score) else score, 0.3, decide(1, action)) for score in scores.tolist()]
        assert [OUTCOMES[one] for one in found] == alone, action


def test_a_decision_overrules_only_a_threshold_that_says_otherwise() -> None:
    bins, codes = to_bins(np.array([0.5, 0.1, np.nan], dtype=np.float32)), np.arange(5, dtype=np.uint8)[:, None]
    told = dict(zip(("nobody", *ACTIONS), overruled(bins, 0.3, codes).tolist(), strict=True))
    assert told == {
        "nobody": [False] * 3,
        "keep": [True, False, False],
        "remove": [False, True, False],
        "relabel": [True, False, False],
        "unsure": [False] * 3,
    }


def test_raising_the_threshold_never_flags_a_row_that_was_not() -> None:
    scores, thresholds = [step / 50 - 1 for step in range(101)], [step / 20 - 1 for step in range(41)]
    for low, high in pairwise(thresholds):
        assert all(is_flagged(score, low) for score in scores if is_flagged(score, high))


def test_a_record_says_which_threshold_decided() -> None:
    assert name(0.31) == "policy:threshold=0.31"
