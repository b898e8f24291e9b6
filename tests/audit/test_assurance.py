"""What may be said about rows nobody read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from reft_studio.audit.assurance import further_reads, residual_risk, statement
from reft_studio.audit.decision import Action, Decision
from reft_studio.audit.queue import review_order, sample_order
from reft_studio.errors import SpecError

Decide = Callable[[int, Action], Decision]
TAU = 0.3
SCORES = np.linspace(-1, 1, 1001).astype(np.float32)
BELOW = 650  # scores -1 to 0.298


def test_none_harmful_in_300_is_not_zero() -> None:
    found = statement(10_000, 300, 0)
    assert found.upper_bound == pytest.approx(1 - 0.05 ** (1 / 300))
    assert found.upper_bound == pytest.approx(3 / 300, rel=0.01)  # the rule of three


def test_the_bound_is_the_exact_binomial_one() -> None:
    """At the bound, seeing this few harmful rows or fewer has exactly 5 % probability."""
    for sampled, harmful in ((50, 0), (50, 3), (200, 11)):
        bound = statement(10**6, sampled, harmful).upper_bound
        assert stats.binom.cdf(harmful, sampled, bound) == pytest.approx(0.05, abs=1e-9)


def test_nothing_read_says_nothing_and_all_read_says_all() -> None:
    assert statement(100, 0, 0).upper_bound == 1.0
    assert statement(100, 100, 7).upper_bound == 0.07
    assert statement(100, 100, 0).review_more == 0
    assert statement(0, 0, 0).sentence == "No row lies below the threshold, so none is left to doubt."


@pytest.mark.parametrize(("sampled", "harmful"), [(0, 0), (50, 0), (50, 1), (200, 4)])
def test_the_number_to_read_more_is_the_smallest_that_is_enough(sampled: int, harmful: int) -> None:
    more = statement(10_000, sampled, harmful, target=0.02).review_more
    assert more is not None and more > 0
    assert statement(10_000, sampled + more, harmful, target=0.02).upper_bound <= 0.02
    assert statement(10_000, sampled + more - 1, harmful, target=0.02).upper_bound > 0.02


def test_where_no_number_is_enough_it_says_lower_the_threshold() -> None:
    found = statement(1000, 200, 30)
    assert found.review_more is None
    assert found.sentence.endswith("Too many were harmful to claim at most 1.0 %: lower the threshold.")


def test_reading_everything_is_always_enough_if_few_enough_are_harmful() -> None:
    assert further_reads(100, 10, 1, confidence=0.95, target=0.01) == 90


def test_the_sentence_says_how_many_of_what_with_which_confidence() -> None:
    assert statement(900, 50, 0).sentence == (
        "At most 5.9 % of the 900 rows below the threshold are harmful (95% confidence; 50 drawn at random and read, 0 of them harmful). "
        "Read 249 more without a harmful one to claim at most 1.0 %."
    )


def test_a_printed_bound_is_never_below_the_bound() -> None:
    for sampled in range(1, 400, 7):
        found = statement(10_000, sampled, 0)
        printed = float(found.sentence.split("At most ")[1].split(" %")[0])
        assert printed / 100 >= found.upper_bound


def test_only_the_random_rows_that_the_queue_gave_count(decide: Decide) -> None:
    items = review_order(SCORES, TAU, set(), seed=4, size=50)
    decisions = {item.row_id: decide(item.row_id, "keep") for item in items}
    found = residual_risk(SCORES, TAU, decisions, seed=4)
    assert (found.population, found.sampled, found.harmful_found) == (BELOW, 15, 0)


def test_a_skipped_row_ends_the_sample(decide: Decide) -> None:
    order = sample_order(seed=4, count=20, eligible=SCORES < TAU).tolist()
    decisions = {row_id: decide(row_id, "keep") for row_id in order if row_id != order[12]}
    assert residual_risk(SCORES, TAU, decisions, seed=4).sampled == 12
    decisions[order[12]] = decide(order[12], "remove")
    found = residual_risk(SCORES, TAU, decisions, seed=4)
    assert found.sampled == 20 and found.harmful_found == 1


@pytest.mark.parametrize(("action", "harmful"), [("keep", 0), ("remove", 1), ("relabel", 1), ("unsure", 1)])
def test_doubt_counts_as_harm(decide: Decide, action: Action, harmful: int) -> None:
    (row_id,) = sample_order(seed=4, count=1, eligible=SCORES < TAU).tolist()
    assert residual_risk(SCORES, TAU, {row_id: decide(row_id, action)}, seed=4).harmful_found == harmful


def test_the_claim_holds_in_95_of_100_audits() -> None:
    """500 simulated audits of rows with 4 % harm, 60 read each: the bound must cover in at least 95 %, less 3 standard errors."""
    rng = np.random.default_rng(0)
    harmful = np.zeros(BELOW, dtype=bool)
    harmful[rng.choice(BELOW, round(0.04 * BELOW), replace=False)] = True
    covered = 0
    for seed in range(500):
        read = sample_order(seed=seed, count=60, eligible=np.ones(BELOW, bool))
        covered += statement(BELOW, 60, int(harmful[read].sum())).upper_bound >= harmful.mean()
    assert covered / 500 > 0.95 - 3 * (0.95 * 0.05 / 500) ** 0.5


def test_rows_without_a_score_are_not_spoken_for(decide: Decide) -> None:
    scores = np.array([0.1, np.nan, 0.5], dtype=np.float32)
    found = residual_risk(scores, TAU, {7: decide(7, "keep")}, seed=0, row_ids=[7, 8, 9])
    assert (found.population, found.sampled, found.upper_bound) == (1, 1, 0.0)


def test_a_target_that_is_no_share_is_refused() -> None:
    with pytest.raises(SpecError, match="target is 5"):
        statement(100, 10, 0, target=5)
