from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from reft_studio.audit.decision import Action, Decision
from reft_studio.audit.policy import effective, flagged, name

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


def test_raising_the_threshold_never_flags_a_row_that_was_not() -> None:
    scores, thresholds = [step / 50 - 1 for step in range(101)], [step / 20 - 1 for step in range(41)]
    for low, high in pairwise(thresholds):
        assert all(flagged(score, low) for score in scores if flagged(score, high))


def test_a_record_says_which_threshold_decided() -> None:
    assert name(0.31) == "policy:threshold=0.31"
