from __future__ import annotations

import numpy as np
import pytest

from reft_studio.audit.queue import QueueItem, review_order, sample_order
from reft_studio.errors import SpecError

SCORES = np.round(np.random.default_rng(0).normal(0.0, 0.3, 1000).clip(-1, 1), 3).astype(np.float32)
TAU = 0.3


def of(items: list[QueueItem], why: str) -> list[int]:
    return [item.row_id for item in items if item.why == why]


def test_the_first_row_is_the_one_nearest_the_threshold_and_the_rest_follow_by_distance() -> None:
    items = review_order(SCORES, TAU, set(), seed=0)
    near = of(items, "borderline")
    assert items[0].why == "borderline"
    distances = [abs(float(SCORES[row_id]) - TAU) for row_id in near]
    assert distances == sorted(distances)
    others = set(range(1000)) - {item.row_id for item in items}
    assert max(distances) <= min(abs(float(SCORES[row_id]) - TAU) for row_id in others) + 1e-6


def test_a_batch_holds_each_kind_in_its_share_and_no_row_twice() -> None:
    items = review_order(SCORES, TAU, set(), seed=0, size=50, random_share=0.3)
    assert (len(of(items, "random")), len(of(items, "flagged")), len(of(items, "borderline"))) == (15, 10, 25)
    assert len({item.row_id for item in items}) == 50
    assert all(item.score == pytest.approx(float(SCORES[item.row_id])) for item in items)


def test_the_first_ten_already_hold_random_rows() -> None:
    assert 2 <= len(of(review_order(SCORES, TAU, set(), seed=0)[:10], "random")) <= 4


def test_random_rows_lie_below_and_flagged_ones_from_the_threshold_up_over_all_scores() -> None:
    items = review_order(SCORES, TAU, set(), seed=0)
    assert all(SCORES[row_id] < TAU for row_id in of(items, "random"))
    flagged = sorted(float(SCORES[row_id]) for row_id in of(items, "flagged"))
    above = np.sort(SCORES[SCORES >= TAU])
    assert flagged[0] < np.quantile(above, 0.2) and flagged[-1] > np.quantile(above, 0.8)


def test_the_same_seed_gives_the_same_order_and_another_seed_other_random_rows() -> None:
    assert review_order(SCORES, TAU, {1, 2}, seed=5) == review_order(SCORES, TAU, {2, 1}, seed=5)
    assert of(review_order(SCORES, TAU, set(), seed=5), "random") != of(review_order(SCORES, TAU, set(), seed=6), "random")


def test_decided_rows_never_come_again_until_all_are_decided() -> None:
    decided: set[int] = set()
    while items := review_order(SCORES[:200], TAU, decided, seed=0, size=30):
        assert not decided & {item.row_id for item in items}
        decided |= {item.row_id for item in items}
    assert decided == set(range(200))


def test_moving_the_threshold_keeps_the_random_order_of_the_rows_below_both() -> None:
    low, high = (sample_order(seed=3, count=1000, eligible=tau > SCORES).tolist() for tau in (0.1, 0.3))
    assert [row_id for row_id in high if SCORES[row_id] < 0.1] == low


def test_the_random_order_is_fair() -> None:
    """Over many seeds each of 20 rows is first about as often: 2000 draws, 100 expected, 5 standard deviations allowed."""
    firsts = [int(sample_order(seed=seed, count=1, eligible=np.ones(20, bool))[0]) for seed in range(2000)]
    counts = np.bincount(firsts, minlength=20)
    assert counts.min() > 50 and counts.max() < 150


def test_rows_without_a_score_come_last_and_say_so() -> None:
    scores = np.array([0.1, np.nan, 0.5, np.nan, 0.2], dtype=np.float32)
    items = review_order(scores, TAU, set(), seed=0, size=10)
    assert [(item.row_id, item.why, item.score) for item in items[-2:]] == [(1, "unscored", None), (3, "unscored", None)]
    assert {item.row_id for item in items} == {0, 1, 2, 3, 4}


def test_row_ids_with_gaps_are_used() -> None:
    ids = np.array([10, 20, 30, 40])
    items = review_order([0.1, 0.29, 0.31, 0.9], TAU, {30}, seed=0, row_ids=ids, size=4)
    assert {item.row_id for item in items} == {10, 20, 40}


@pytest.mark.parametrize(("scores", "rows"), [([], 0), ([0.9], 1), ([0.1], 1), ([float("nan")], 1)])
def test_small_datasets_are_no_special_case(scores: list[float], rows: int) -> None:
    assert len(review_order(scores, TAU, set(), seed=0)) == rows


def test_shares_and_lengths_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SpecError, match=r"random_share is 0\.9"):
        review_order(SCORES, TAU, set(), seed=0, random_share=0.9)
    with pytest.raises(SpecError, match="2 scores for 3 rows"):
        review_order([0.1, 0.2], TAU, set(), seed=0, row_ids=[1, 2, 3])
