from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from reft_studio.audit.threshold import Calibration, choose, withheld
from reft_studio.audit.threshold_rule import ThresholdRule
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.data.splits import group_key
from reft_studio.errors import DataError, SpecError, StoreError
from reft_studio.scoring.scores import grid, to_bins
from reft_studio.teacher.teacher import TeacherInfo, open_teacher
from reft_studio.workspace import Workspace

NOTHING = np.array([], dtype=np.uint16)
Teacher = Callable[[list[tuple[str, float, str]]], TeacherInfo]


def calibration(harmful: list[float], harmless: list[float]) -> Calibration:
    return Calibration(*(np.sort(grid(np.array(values, dtype=np.float32))) for values in (harmful, harmless)))


def steps(count: int, low: float = 0.0) -> list[float]:
    """`low`, `low` + 0.001, …: scores whose ranks can be counted by hand."""
    return [low + number / 1000 for number in range(count)]


@pytest.fixture
def teacher(workspace: Workspace, tmp_path: Path) -> Teacher:
    """The lab's teacher with other calibration scores: (kind, score, prompt)."""

    def make(rows: list[tuple[str, float, str]]) -> TeacherInfo:
        columns = {
            "kind": [row[0] for row in rows],
            "score": pa.array([row[1] for row in rows], pa.float32()),
            "group": [group_key(row[2]) for row in rows],
        }
        folder = tmp_path / f"teacher-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        pq.write_table(pa.table(columns), folder / "calibration.parquet")
        return replace(open_teacher(workspace, "lab"), folder=folder)

    return make


def test_recall_takes_the_highest_threshold_that_still_flags_the_share_asked_for() -> None:
    found = choose(ThresholdRule(rule="recall", recall=0.9), calibration(steps(100), []), NOTHING)
    assert found.threshold == pytest.approx(0.010)  # 90 of 0.000 … 0.099 lie at or above
    assert found.recall is not None and found.recall.value == 90.0


@pytest.mark.parametrize(("recall", "needed"), [(0.9, 30), (0.99, 100), (0.999, 1000)])
def test_recall_with_too_few_prompts_is_refused_with_the_number_needed(recall: float, needed: int) -> None:
    with pytest.raises(DataError, match=f"at least {needed} held-out harmful"):
        choose(ThresholdRule(rule="recall", recall=recall), calibration(steps(needed - 1), []), NOTHING)


def test_conformal_lets_one_prompt_less_be_missed_than_the_plain_quantile() -> None:
    # (misses + 1) / (99 + 1) <= 0.05 allows 4 misses: the fifth lowest score is still flagged
    found = choose(ThresholdRule(rule="conformal", miss_rate=0.05), calibration(steps(99), []), NOTHING)
    assert found.threshold == pytest.approx(0.004)
    assert "exchangeable" in found.assumption


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.01, 99), (0.1, 9), (0.3, 3)])
def test_conformal_needs_exactly_as_many_prompts_as_its_bound_allows(rate: float, needed: int) -> None:
    rule = ThresholdRule(rule="conformal", miss_rate=rate)
    assert choose(rule, calibration(steps(needed), []), NOTHING).threshold == 0.0  # none may be missed: the lowest score
    with pytest.raises(DataError, match=f"at least {needed} held-out harmful"):
        choose(rule, calibration(steps(needed - 1), []), NOTHING)


def test_the_tolerance_limit_is_the_highest_line_that_misses_too_many_in_at_most_one_calibration_of_twenty() -> None:
    # 300 prompts: P(Binomial(300, 0.05) <= 8) = 3.4 %, with one more miss 6.4 %, so the ninth lowest score is the line
    found = choose(ThresholdRule(rule="tolerance", miss_rate=0.05), calibration(steps(300), []), NOTHING)
    assert found.threshold == pytest.approx(0.008)
    assert stats.binom.cdf(8, 300, 0.05) <= 0.05 < stats.binom.cdf(9, 300, 0.05)
    assert "in 95 % of calibrations" in found.promise and found.rule == "miss rate at most 0.05 in 95 % of calibrations (tolerance)"


@pytest.mark.parametrize(("rate", "certainty", "needed"), [(0.05, 0.95, 59), (0.01, 0.95, 299), (0.1, 0.9, 22)])
def test_the_tolerance_limit_needs_as_many_prompts_as_wilks_says(rate: float, certainty: float, needed: int) -> None:
    rule = ThresholdRule(rule="tolerance", miss_rate=rate, certainty=certainty)
    assert choose(rule, calibration(steps(needed), []), NOTHING).threshold == 0.0  # none may be missed: the lowest score
    with pytest.raises(DataError, match=f"at least {needed} held-out harmful"):
        choose(rule, calibration(steps(needed - 1), []), NOTHING)


def test_the_rule_on_average_misses_more_in_nearly_every_second_calibration_and_the_one_with_certainty_hardly_ever() -> None:
    """Scores are uniform on the grid, so that the share a line misses is its place on it."""
    rng, shares = np.random.default_rng(1), {"conformal": [], "tolerance": []}
    for _ in range(1000):
        held_out = Calibration(np.sort(rng.integers(0, 2000, 300)), NOTHING.astype(np.int64))
        for rule, missed in shares.items():
            missed.append((choose(ThresholdRule(rule=rule, miss_rate=0.05), held_out, NOTHING).threshold + 1) / 2)
    assert 0.40 < np.mean(np.array(shares["conformal"]) > 0.05) < 0.52  # 46 % by the binomial distribution
    assert np.mean(shares["conformal"]) <= 0.0502
    assert np.mean(np.array(shares["tolerance"]) > 0.05) <= 0.05
    said = choose(ThresholdRule(rule="conformal"), held_out, NOTHING)
    assert "on average" in said.promise and "one of the 46 in 100" in said.assumption and "on average" in said.rule


def test_the_expected_miss_rate_on_new_prompts_keeps_the_conformal_bound() -> None:
    rng, rule, missed = np.random.default_rng(0), ThresholdRule(rule="conformal", miss_rate=0.1), []
    for _ in range(2000):
        scores = rng.normal(0.5, 0.15, 40).clip(-1, 1)
        at = choose(rule, calibration(list(scores[:39]), []), NOTHING).threshold
        missed.append(grid(float(scores[39])) < grid(at))
    assert np.mean(missed) <= 0.1 + 3 * np.std(missed) / np.sqrt(len(missed))
    assert np.mean(missed) >= 0.06  # and it is not kept by flagging everything


def test_cost_finds_the_cheapest_threshold_by_hand() -> None:
    # 40 harmless at 0.1, 40 harmful at 0.5, but 4 harmful at 0.0: catching those costs 40 false alarms
    both = calibration([0.5] * 36 + [0.0] * 4, [0.1] * 40)
    dear = choose(ThresholdRule(rule="cost", miss_cost=100, poison_ratio=0.1), both, NOTHING)  # 100·0.1·0.1 > 0.9·1
    cheap = choose(ThresholdRule(rule="cost", miss_cost=1, poison_ratio=0.1), both, NOTHING)
    assert dear.threshold <= 0.0 < 0.1 < cheap.threshold <= 0.5


def test_where_many_thresholds_cost_nothing_the_middle_between_the_kinds_is_taken() -> None:
    found = choose(ThresholdRule(rule="cost"), calibration([0.5] * 30, [-0.5] * 30), NOTHING)
    assert found.threshold == pytest.approx(0.0, abs=0.002)


def test_a_budget_flags_as_many_rows_as_fit_and_no_more() -> None:
    scores = to_bins(np.array([0.5, 0.4, 0.4, 0.3, np.nan], dtype=np.float32))
    flagged = {rows: choose(ThresholdRule(rule="budget", rows=rows), calibration([], []), scores).flagged for rows in (1, 2, 3, 4, 9)}
    assert flagged == {1: 1, 2: 1, 3: 3, 4: 4, 9: 4}


def test_a_budget_smaller_than_the_highest_tie_is_refused_with_the_number_needed() -> None:
    with pytest.raises(DataError, match=r"3 rows share the highest score.*at least 3 rows"):
        choose(ThresholdRule(rule="budget", rows=2), calibration([], []), to_bins(np.array([0.5] * 3 + [0.1], dtype=np.float32)))


def test_calibration_prompts_that_the_audited_file_holds_do_not_count(workspace: Workspace, teacher: Teacher) -> None:
    rows = [("harmful", 0.5 + n / 1000, f"how to steal item {n}") for n in range(40)]
    audited = write_dataset(workspace, [{"prompt": "  How to STEAL item 3?! ", "response": "No."}], name="file", role="user")
    assert len(Calibration.of(teacher(rows)).harmful) == 40
    left = Calibration.of(teacher(rows), audited)
    assert (len(left.harmful), left.excluded) == (39, 1)


def test_shared_prompts_are_found_by_their_letters_and_only_once(workspace: Workspace, teacher: Teacher) -> None:
    """'item 3' and 'item 3.5' have other letters and digits, 'item-3' and 'item 3' the same ones; the prompts are read once."""
    prompts = [f"how to steal item {n}" for n in range(40)]
    known = teacher([("harmful", 0.5, prompt) for prompt in prompts])
    pq.write_table(pa.table({"prompt": prompts, "kind": ["harmful"] * 40}), known.folder / "neighbours.parquet")
    rows: list[Row] = [{"prompt": text, "response": "No."} for text in ("HOW to steal: item-3", "how to steal item 3.5", "İ")]
    audited = write_dataset(workspace, rows, name="file", role="user")
    assert Calibration.of(known, audited).excluded == 1
    audited.path.unlink()
    assert Calibration.of(known, audited).excluded == 1


def test_the_papers_line_flags_99_of_100_and_is_never_above_zero() -> None:
    low = choose(ThresholdRule(rule="paper"), calibration(steps(100, -0.5), []), NOTHING)
    assert low.threshold == pytest.approx(-0.499) and low.recall is not None and low.recall.value == 99.0
    high = choose(ThresholdRule(rule="paper"), calibration(steps(100, 0.5), []), NOTHING)
    assert high.threshold == pytest.approx(0.0) and "prints no number" in high.assumption


def test_of_one_question_in_several_spellings_the_least_convenient_score_counts(teacher: Teacher) -> None:
    rows = [("harmful", 0.9, "Steal it"), ("harmful", 0.2, "steal it!"), ("harmless", 0.1, "Bake it"), ("harmless", 0.3, "bake it?")]
    found = Calibration.of(teacher(rows))
    assert (found.harmful.tolist(), found.harmless.tolist()) == ([1200], [1300])


def test_a_teacher_without_calibration_scores_says_so(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no calibration scores"):
        Calibration.of(replace(open_teacher(workspace, "lab"), folder=tmp_path / "none"))


@pytest.mark.parametrize("wrong", [{"rule": "magic"}, {"miss_rate": 0}, {"recall": 1}, {"poison_ratio": 0}, {"rows": 0}, {"value": 2}])
def test_settings_out_of_range_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(SpecError, match=next(iter(wrong))):
        ThresholdRule.checked(**wrong)


def test_the_promise_counts_the_rows_of_this_file_and_names_its_rule(dataset: Dataset) -> None:
    found = choose(ThresholdRule(rule="fixed", value=0.25), calibration([], []), to_bins(np.array([0.2, 0.25, 0.3], dtype=np.float32)))
    assert (found.threshold, found.flagged, found.rule, found.recall) == (pytest.approx(0.25), 2, "fixed", None)


@pytest.mark.parametrize("odd", [("unknown", 0.1, "x"), ("harmful", float("nan"), "x"), ("harmless", None, "x")])
def test_damaged_calibration_scores_set_no_threshold(teacher: Teacher, odd: tuple[str, float, str]) -> None:
    with pytest.raises(StoreError, match="are damaged"):
        Calibration.of(teacher([("harmful", 0.5, "a"), odd]))


@pytest.mark.parametrize(
    ("spec", "tuned"),
    [
        ({}, True),
        ({"selection_harmful": "some"}, False),
        ({"layer": 3}, False),
        ({"layer": 3, "sweep": [0.1, 1.0]}, True),
        ({"layer": 3, "early_stop": 2}, True),
        ({"layer": 3, "early_stop": 2, "selection_harmful": "some"}, False),
    ],
)
def test_the_bound_says_where_settings_were_chosen_on_its_own_prompts(teacher: Teacher, spec: dict[str, object], tuned: bool) -> None:
    rows = [(kind, number / 100, f"{kind} {number}") for kind in ("harmful", "harmless") for number in range(30)]
    held_out = Calibration.of(replace(teacher(rows), spec=spec))
    assert ("chosen on the same prompts" in choose(ThresholdRule(rule="conformal"), held_out, NOTHING).assumption) is tuned


def test_clean_rows_set_the_line_just_above_the_share_that_may_be_flagged() -> None:
    """Of 99 clean rows 0.001 to 0.099, at most 5 % of new ones are to be flagged: above the 95th lowest, ceil(0.95 * 100)."""
    clean = np.sort(to_bins(steps_of(99))).astype(np.int64)
    found = choose(ThresholdRule(rule="clean", false_positives=0.05), calibration([], []), NOTHING, clean=clean)
    assert found.threshold == pytest.approx(0.096) and "(conformal, 99 rows)" in found.promise
    assert "nothing of harmful rows" in found.assumption and found.rule == "false positives at most 0.05 on clean rows (reviewed)"


def test_too_few_clean_rows_are_refused_with_the_number_needed() -> None:
    with pytest.raises(DataError, match="needs 99 rows known to be harmless; there are 98"):
        choose(ThresholdRule(rule="clean"), calibration([], []), NOTHING, clean=np.arange(98))
    with pytest.raises(DataError, match="highest score there is"):
        choose(ThresholdRule(rule="clean", false_positives=0.5), calibration([], []), NOTHING, clean=np.full(9, 2000))


def test_new_clean_rows_are_flagged_no_more_often_than_promised() -> None:
    draw, flags, trials = np.random.default_rng(0), 0, 2000
    for _ in range(trials):
        rows = to_bins(draw.normal(-0.5, 0.2, 60).clip(-1, 1).astype(np.float32)).astype(np.int64)
        found = choose(ThresholdRule(rule="clean", false_positives=0.1), calibration([], []), NOTHING, clean=np.sort(rows[:59]))
        flags += int(rows[59]) >= round(1000 * (found.threshold + 1))
    assert flags / trials <= 0.1 + 2 * (0.1 * 0.9 / trials) ** 0.5


def test_what_rests_on_a_calibration_that_says_nothing_is_not_promised() -> None:
    given = {rule: choose(ThresholdRule(rule=rule), calibration(steps(100), steps(100, -0.9)), NOTHING) for rule in ("recall", "fixed")}  # type: ignore[arg-type]
    bare = {rule: withheld(one, ThresholdRule(rule=rule), "The file is in German.", "Ask another.") for rule, one in given.items()}  # type: ignore[arg-type]
    assert bare["recall"].promise == "No promise: The file is in German." and bare["recall"].assumption == "Ask another."
    assert bare["fixed"].promise == given["fixed"].promise
    assert all(one.recall is None and one.withheld for one in bare.values()) and given["recall"].recall is not None


def steps_of(count: int) -> np.ndarray:
    return (np.arange(1, count + 1) / 1000).astype(np.float32)
