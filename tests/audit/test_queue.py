from __future__ import annotations

import numpy as np

from reft_studio.audit.queue import BLOCK, disagreement_order, mixed, random_order

NOTHING = float("nan")


def test_scorers_disagree_most_where_both_are_sure() -> None:
    scores = np.array([0.9, 0.1, -0.9, 0.5, NOTHING], dtype=np.float32)
    others = np.array([-0.9, -0.8, 0.9, 0.6, -1.0], dtype=np.float32)
    found = disagreement_order(scores, 0.0, others, 0.0)
    assert sorted(found.tolist()) == [0, 1, 2], "row 3 is flagged by both, row 4 has one score only"
    assert found[-1] == 1, "one of the two is hardly off its line there"


def test_each_scorer_is_measured_on_its_own_scale() -> None:
    scores, others = np.array([0.2, 0.4, 0.0], dtype=np.float32), np.array([-0.8, -0.4, 0.4], dtype=np.float32)
    wide = disagreement_order(scores, 0.1, others, -0.2).tolist()
    narrow = disagreement_order(scores, 0.1, (others / 4).astype(np.float32), -0.05).tolist()
    assert sorted(wide) == [0, 1, 2]
    assert wide == narrow


def test_a_random_order_holds_every_row_once_and_another_seed_gives_another() -> None:
    rows = 3 * BLOCK
    first, again, other = (np.concatenate(list(random_order(rows, seed=seed))) for seed in (1, 1, 2))
    assert np.array_equal(np.sort(first), np.arange(rows))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_each_row_is_as_likely_to_come_first() -> None:
    firsts = [int(next(random_order(20, seed=seed))[0]) for seed in range(2000)]
    counts = np.bincount(firsts, minlength=20)
    assert counts.min() > 60 and counts.max() < 145  # 100 expected, 9.7 standard deviation


def test_groups_are_spread_evenly_and_keep_their_order() -> None:
    order = mixed({"borderline": [1, 2, 3, 4], "random": [8, 9]})
    assert [row for _, row in order if row < 8] == [1, 2, 3, 4]
    assert [row for _, row in order if row > 7] == [8, 9]
    assert order[0] == ("borderline", 1) and order.index(("random", 8)) < 3
