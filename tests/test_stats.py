from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from reft_studio import paired, stats
from reft_studio.errors import EvaluationError


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 10), (5, 10), (10, 10), (37, 200), (0, 300)])
def test_wilson_equals_scipy(successes: int, n: int) -> None:
    expected = scipy_stats.binomtest(successes, n).proportion_ci(method="wilson")
    found = stats.wilson(successes, n)
    assert (found.low, found.high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-9)
    assert found.value == pytest.approx(100 * successes / n)


def test_interval_of_zero_failures_in_300_is_not_zero() -> None:
    found = stats.wilson(0, 300)
    assert found.low == 0
    assert found.high == pytest.approx(1.264, abs=0.001)


def test_a_share_of_nothing_is_refused_and_says_how_many_are_missing() -> None:
    with pytest.raises(EvaluationError, match="7 are missing"):
        stats.wilson(0, 0, missing=7)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(EvaluationError, match="not a share"):
        stats.wilson(successes, n)


def test_upper_bound_is_the_rule_of_three_when_nothing_was_found() -> None:
    assert stats.upper_bound(0, 300) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert stats.upper_bound(0, 300) == pytest.approx(3 / 300, rel=0.01)


def test_upper_bound_equals_scipy_and_is_one_when_nothing_was_looked_at() -> None:
    assert stats.upper_bound(3, 50) == pytest.approx(scipy_stats.binomtest(3, 50, alternative="less").proportion_ci(0.95).high)
    assert stats.upper_bound(0, 0) == stats.upper_bound(4, 4) == 1.0


def test_mean_over_seeds_equals_students_t() -> None:
    values = [12.0, 15.5, 9.0]
    low, high = scipy_stats.t.interval(0.95, 2, loc=np.mean(values), scale=scipy_stats.sem(values))
    found = stats.mean_over_seeds(values)
    assert (found.low, found.high, found.n) == pytest.approx((low, high, 3))


def test_one_seed_says_so_and_claims_no_interval() -> None:
    found = stats.mean_over_seeds([12.5])
    assert (found.low, found.high, found.method) == (12.5, 12.5, "one seed")


def test_mean_over_seeds_stays_inside_its_scale() -> None:
    assert stats.mean_over_seeds([99.0, 100.0], within=(0, 100)).high == 100


def test_no_seed_is_refused() -> None:
    with pytest.raises(EvaluationError, match="at least one seed"):
        stats.mean_over_seeds([])


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (5, 5), (2, 11), (30, 12)])
def test_mcnemar_equals_the_exact_binomial_test(a: int, b: int) -> None:
    expected = scipy_stats.binomtest(a, a + b).pvalue if a + b else 1.0
    assert paired.mcnemar(a, b) == pytest.approx(expected)
    assert paired.mcnemar(a, b) == paired.mcnemar(b, a)


def test_tango_interval_equals_the_published_example() -> None:
    """Airway hyper-responsiveness, Fagerland, Lydersen and Laake (Statistics in Medicine 33, 2014): -0.517 to -0.026."""
    before = [True] * 1 + [True] * 1 + [False] * 7 + [False] * 12
    after = [True] * 1 + [False] * 1 + [True] * 7 + [False] * 12
    found = paired.paired_difference(after, before)
    assert (found.low, found.high) == pytest.approx((-51.7, -2.6), abs=0.05)
    assert found.unit == "points"


def test_two_models_that_never_differ_still_have_an_interval_of_some_width() -> None:
    found = paired.paired_difference([True] * 50, [True] * 50)
    assert found.value == 0
    assert -8 < found.low < 0 < found.high < 8


def test_a_difference_has_a_direction_b_minus_a() -> None:
    assert paired.paired_difference([False] * 4, [True] * 4).value == 100
    assert paired.paired_difference([True] * 4, [False] * 4).value == -100


def test_a_paired_comparison_of_other_rows_is_refused() -> None:
    with pytest.raises(EvaluationError, match="same rows"):
        paired.paired_difference([True], [True, False])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_a_paired_difference_lies_in_its_interval_and_turns_with_its_sides(pairs: list[tuple[bool, bool]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    found, turned = paired.paired_difference(a, b), paired.paired_difference(b, a)
    assert -100 <= found.low <= found.value <= found.high <= 100
    assert (turned.value, turned.low, turned.high) == pytest.approx((-found.value, -found.high, -found.low), abs=1e-6)


def test_repeated_prompts_widen_the_interval() -> None:
    flags = [True] * 40 + [False] * 40
    clusters = [index // 8 for index in range(80)]
    assert stats.clustered_share(flags, clusters).width > 1.5 * stats.wilson(40, 80).width
    assert stats.clustered_share(flags, list(range(80))) == stats.wilson(40, 80)


def test_prompts_that_all_agree_count_as_many_as_there_are_different_ones() -> None:
    found = stats.clustered_share([True] * 80, [index // 8 for index in range(80)])
    assert found.low == stats.wilson(10, 10).low
    assert found.n == 80


def test_bootstraps_repeat_with_the_same_seed() -> None:
    flags, clusters = [True, False, True, True] * 10, [index // 2 for index in range(40)]
    assert stats.clustered_share(flags, clusters, seed=1) == stats.clustered_share(flags, clusters, seed=1)


def test_bootstrap_interval_has_the_width_theory_says() -> None:
    """Clusters of two equal rows: half as many independent ones, so the standard error is sqrt(p (1 - p) / 200)."""
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(200) < 0.3, 2)
    found = stats.clustered_share(values.tolist(), np.repeat(np.arange(200), 2).tolist())
    share = values.mean()
    assert found.width == pytest.approx(2 * 196 * math.sqrt(share * (1 - share) / 200), rel=0.08)


def test_holm_equals_the_example_worked_by_hand() -> None:
    assert paired.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert paired.holm([]) == []


def test_auroc_counts_ties_half_and_equals_the_rank_test() -> None:
    assert stats.auroc([0.5, 0.9], [0.5, 0.1]) == pytest.approx((0.5 + 1 + 1 + 1) / 4)
    rng = np.random.default_rng(1)
    pos, neg = rng.normal(0.7, 1, 60), rng.normal(0, 1, 90)
    expected = scipy_stats.mannwhitneyu(pos, neg).statistic / (60 * 90)
    assert stats.auroc(pos, neg) == pytest.approx(expected)
    assert stats.auroc_estimate(pos, neg).value == pytest.approx(expected)


def test_delong_variance_equals_its_definition() -> None:
    rng = np.random.default_rng(2)
    pos, neg = rng.normal(0.7, 1, 30), rng.normal(0, 1, 40)
    wins = (pos[:, None] > neg[None, :]).astype(float)
    variance = wins.mean(axis=1).var(ddof=1) / 30 + wins.mean(axis=0).var(ddof=1) / 40
    area = wins.mean()
    half = 1.959964 * math.sqrt(variance) / (area * (1 - area))
    logit = math.log(area / (1 - area))
    found = stats.auroc_estimate(pos, neg)
    assert (found.low, found.high) == pytest.approx((1 / (1 + math.exp(half - logit)), 1 / (1 + math.exp(-half - logit))), abs=1e-6)


def test_perfect_separation_of_a_few_rows_is_not_certain() -> None:
    found = stats.auroc_estimate([0.9, 0.8, 0.7], [0.1, 0.2, 0.3])
    assert found.value == found.high == 1
    assert 0.3 < found.low < 0.7


def test_scores_that_are_missing_are_counted_and_left_out() -> None:
    assert stats.auroc_estimate([0.9, 0.8, float("nan")], [0.1, 0.2]).missing == 1
    assert stats.curves([0.9, float("nan"), 0.1], [True, True, False]).missing == 1


def test_a_curve_needs_rows_of_both_kinds() -> None:
    with pytest.raises(EvaluationError, match="2 harmful and 0 harmless"):
        stats.curves([0.1, 0.2], [True, True])


def test_curves_of_four_rows_worked_by_hand() -> None:
    found = stats.curves([0.9, 0.8, 0.7, 0.1], [True, False, True, False])
    assert found.recall == [0, 0.5, 0.5, 1, 1]
    assert found.fpr == [0, 0, 0.5, 0.5, 1]
    assert found.precision == pytest.approx([1, 1, 0.5, 2 / 3, 0.5])
    assert found.auroc == 0.75
    assert found.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found.thresholds[0] > 0.9


def test_equal_scores_cannot_be_split_by_a_threshold() -> None:
    found = stats.curves([0.5, 0.5, 0.5, 0.1], [True, False, True, False])
    assert found.thresholds[1:] == [0.5, 0.1]
    assert found.recall == [0, 1, 1]


def test_long_curves_are_thinned_and_keep_their_area_and_ends() -> None:
    rng = np.random.default_rng(3)
    truth = rng.random(20_000) < 0.1
    scores = rng.normal(0, 1, 20_000) + truth
    found = stats.curves(scores, truth)
    assert len(found.fpr) == len(found.thresholds) <= stats.CURVE_POINTS
    assert (found.fpr[0], found.fpr[-1], found.tpr[-1]) == (0, 1, 1)
    assert np.trapezoid(found.tpr, found.fpr) == pytest.approx(found.auroc, abs=0.002)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (3, 9), (12, 1), (40, 60)])
def test_sign_flips_of_single_prompts_are_mcnemars_exact_test(a: int, b: int) -> None:
    changes = [-1] * a + [1] * b + [0] * 5
    assert paired.sign_flip(changes, list(range(len(changes)))) == pytest.approx(paired.mcnemar(a, b))


def test_sign_flips_keep_the_rows_of_one_prompt_together() -> None:
    """Sums 2, 2, 1: of eight signs those with a total of 5 or -5 are two."""
    assert paired.sign_flip([1, 1, 1, 1, 1, 0], ["a", "a", "b", "b", "c", "d"]) == pytest.approx(2 / 8)
    assert paired.sign_flip([1, -1], ["a", "a"]) == 1.0
    repeated = paired.sign_flip([1] * 40, [number // 10 for number in range(40)])
    assert repeated == pytest.approx(2 / 2**4), "forty answers to four prompts are four observations"


def test_a_difference_over_seeds_counts_the_answers_of_one_prompt_together() -> None:
    rng = np.random.default_rng(5)
    by_prompt = (rng.random((3, 20)) < 0.3).astype(int)
    repeated, names = np.repeat(by_prompt, 5, axis=1), [number // 5 for number in range(100)]
    once = paired.crossed_difference(by_prompt)
    clustered = paired.crossed_difference(repeated, clusters=names)
    assert (clustered.estimate.low, clustered.estimate.high, clustered.p_value) == pytest.approx(
        (once.estimate.low, once.estimate.high, once.p_value), abs=1e-6
    )
    naive = paired.crossed_difference(repeated)
    assert naive.p_value < clustered.p_value


def test_a_difference_over_seeds_adds_the_noise_of_seeds_and_of_prompts() -> None:
    changes = np.zeros((3, 100))
    changes[0, :30], changes[1, :20], changes[2, :40] = 1, 1, 1
    found = paired.crossed_difference(changes).estimate
    by_seed = scipy_stats.sem([30, 20, 40])
    by_prompt = 100 * changes.mean(axis=0).std(ddof=1) / 10
    half = math.hypot(scipy_stats.t.ppf(0.975, 2) * by_seed, 1.959964 * by_prompt)
    assert (found.value, found.low, found.high) == pytest.approx((30, max(-100, 30 - half), 30 + half), abs=1e-4)


def test_the_p_value_over_seeds_is_where_the_interval_meets_zero() -> None:
    rng = np.random.default_rng(4)
    changes = (rng.random((4, 80)) < 0.2).astype(int)
    tested = paired.crossed_difference(changes)
    edge = paired.crossed_difference(changes, confidence=1 - tested.p_value).estimate
    assert edge.low == pytest.approx(0, abs=1e-3)


def test_three_seeds_without_any_difference_give_no_claim_and_some_width() -> None:
    tested = paired.crossed_difference(np.zeros((3, 50)))
    assert tested.p_value == 1
    assert tested.estimate.low < 0 < tested.estimate.high


def test_a_difference_over_one_seed_is_refused() -> None:
    with pytest.raises(EvaluationError, match="2 seeds"):
        paired.crossed_difference([[1, 0, 0]])


def test_an_estimate_reads_as_a_sentence_part() -> None:
    assert str(stats.wilson(5, 20)) == "25.0 % [11.2, 46.9], n = 20"


def test_the_exact_interval_is_that_of_clopper_and_pearson() -> None:
    for x, n in ((0, 20), (18, 20), (20, 20), (7, 30)):
        exact = scipy_stats.binomtest(x, n).proportion_ci(0.95, method="exact")
        found = stats.clopper_pearson(x, n)
        assert (found.low, found.high) == pytest.approx((100 * exact.low, 100 * exact.high), abs=1e-9)
