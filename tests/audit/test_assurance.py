"""What may be said about rows nobody read, from draws that were written down before."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from reft_studio.audit.assurance import residual_risk, standing
from reft_studio.audit.bounds import fixed_bound
from reft_studio.audit.claim import Assurance, statement
from reft_studio.audit.draw import Draw, Region, ThresholdSide, is_honest, make, pending
from reft_studio.audit.held import KEEP, REMOVE, UNSURE, Decided
from reft_studio.audit.precision import precision
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import to_bins

TAU = 0.3
SCORES = np.linspace(-1, 1, 1001).astype(np.float32)
BELOW = 650  # scores -1 to 0.298


@dataclass
class Scored:
    """What draws need of a score set, in memory."""

    values: np.ndarray = field(default_factory=lambda: SCORES)
    key: str = "k"
    folder: Path = Path("none")
    number: int = 0

    def row_ids(self) -> np.ndarray:
        return np.arange(len(self.values)) * 2  # with gaps, as after quarantining every second line

    def bins(self) -> np.ndarray:
        return to_bins(self.values)

    def stamp(self) -> int:
        return zlib.crc32(self.values.tobytes())  # not its id, which another array may get


def held(codes: dict[int, int]) -> Decided:
    rows = np.array(sorted(codes), dtype=np.int64)
    return Decided(1, rows, np.array([codes[row] for row in rows.tolist()], dtype=np.uint8), np.zeros(len(rows), np.float32))


def drawn(
    score: Scored,
    count: int,
    before: Iterable[Draw] = (),
    *,
    threshold: float = TAU,
    codes: dict[int, int] | None = None,
    region: Region = "below",
) -> Draw:
    return make(score, threshold, region, count=count, before=[*before], decided=held(codes or {}), head=(0, ""))


def risk(score: Scored, draws: list[Draw], codes: dict[int, int], threshold: float = TAU) -> Assurance:
    return residual_risk(score, threshold, draws, held(codes))


# --- statements ---------------------------------------------------------------------------------------------------------------------


def test_the_sentence_says_how_many_of_what_with_which_confidence() -> None:
    assert statement(9000, 309, 0).sentence == (
        "At most 1.0 % of the 9,000 rows below the threshold are harmful (95% confidence; 309 drawn at random and read, 0 of them harmful)."
        " It takes for granted that readers overlook no harmful row: no checks were mixed in."
    )


def test_half_a_draw_read_holds_whenever_one_stops() -> None:
    found = statement(9000, 150, 0, planned=309)
    assert found.method == "at any time" and found.review_more == 159
    assert "whenever you stop; 150 of 309 drawn at random and read" in found.sentence
    assert found.sentence.endswith("Read 159 more without a harmful one to claim at most 1.0 %.")


@pytest.mark.parametrize(("sampled", "harmful"), [(309, 1), (400, 0), (600, 4)])
def test_the_number_to_read_more_is_the_smallest_that_is_enough(sampled: int, harmful: int) -> None:
    more = statement(10_000, sampled, harmful, target=0.01, planned=309).review_more
    assert more is not None and more > 0
    assert statement(10_000, sampled + more, harmful, planned=309).upper_bound <= 0.01
    assert statement(10_000, sampled + more - 1, harmful, planned=309).upper_bound > 0.01


def test_where_no_number_is_enough_it_says_lower_the_threshold() -> None:
    found = statement(1000, 200, 30)
    assert found.review_more is None
    assert found.sentence.endswith("Too many were harmful to claim at most 1.0 %: lower the threshold.")


def test_a_printed_bound_is_never_below_the_bound() -> None:
    for sampled in range(1, 400, 7):
        found = statement(10_000, sampled, 0)
        assert float(found.sentence.split("At most ")[1].split(" %")[0]) / 100 >= found.upper_bound


def test_a_target_that_is_no_share_is_refused() -> None:
    with pytest.raises(SpecError, match="target is 5"):
        statement(100, 10, 0, target=5)


# --- draws --------------------------------------------------------------------------------------------------------------------------


def test_a_draw_is_of_rows_on_its_side_each_once_and_follows_from_its_seed() -> None:
    score = Scored()
    first = drawn(score, 40)
    second = drawn(score, 40, [first])
    assert first.population == BELOW and len({*first.rows, *second.rows}) == 80
    assert all(SCORES[row // 2] < TAU for row in (*first.rows, *second.rows))
    assert is_honest(first, score, []) and is_honest(second, score, [first])
    chosen = Draw(**{**vars(first), "rows": first.rows[1:]})
    assert not is_honest(chosen, score, [])


def test_every_row_is_equally_likely_to_be_drawn_first() -> None:
    firsts = [drawn(Scored(SCORES[:20]), 1, threshold=1.0).rows[0] // 2 for _ in range(2000)]
    counts = np.bincount(firsts, minlength=20)
    assert ((counts - 100) ** 2 / 100).sum() < 43.8  # chi-squared with 19 degrees of freedom, p = 0.001


def test_at_most_all_rows_are_drawn_and_then_no_more() -> None:
    score = Scored()
    whole = drawn(score, 5000)
    assert len(whole.rows) == BELOW
    with pytest.raises(SpecError, match="All 650 rows below the threshold have been drawn"):
        drawn(score, 1, [whole])


def test_a_skipped_row_ends_the_sample() -> None:
    score = Scored()
    draw = drawn(score, 40)
    codes = {row: KEEP for row in draw.rows if row != draw.rows[12]}
    found = risk(score, [draw], codes)
    assert (found.sampled, found.pending, found.method) == (12, 1, "at any time")
    assert pending([draw], ThresholdSide("below", "k", 1300), held(codes)).tolist() == [draw.rows[12]]
    found = risk(score, [draw], codes | {draw.rows[12]: REMOVE})
    assert (found.sampled, found.harmful_found, found.method) == (40, 1, "exact binomial")
    assert found.upper_bound == fixed_bound(BELOW, 40, 1, confidence=0.955)


def test_doubt_counts_as_harm_and_other_rows_do_not_count() -> None:
    score = Scored()
    draw = drawn(score, 10)
    others = {row: KEEP for row in range(0, 1300, 2) if row not in draw.rows}
    assert risk(score, [draw], others).sampled == 0
    assert risk(score, [draw], dict.fromkeys(draw.rows, UNSURE)).harmful_found == 10


def test_more_rows_drawn_after_looking_cost_the_right_to_the_fixed_bound() -> None:
    score = Scored()
    first = drawn(score, 40)
    codes = dict.fromkeys(first.rows, KEEP)
    second = drawn(score, 40, [first], codes=codes)
    assert risk(score, [first, second], codes).method == "exact binomial"
    found = risk(score, [first, second], codes | dict.fromkeys(second.rows[:5], KEEP))
    assert (found.sampled, found.method) == (45, "at any time")


# --- the line moves -----------------------------------------------------------------------------------------------------------------


def test_after_the_line_was_lowered_no_more_harm_is_left_than_before() -> None:
    score = Scored()
    draw = drawn(score, 60)
    codes = dict.fromkeys(draw.rows, KEEP)
    before, after = risk(score, [draw], codes), risk(score, [draw], codes, threshold=0.2)
    assert after.method == "other line" and "carried over" in after.sentence and after.population == 600
    assert after.upper_bound == pytest.approx(before.upper_bound * BELOW / 600)


def test_after_the_line_was_raised_the_rows_between_count_as_harmful() -> None:
    score = Scored()
    draw = drawn(score, 60)
    codes = dict.fromkeys(draw.rows, KEEP)
    before, after = risk(score, [draw], codes), risk(score, [draw], codes, threshold=0.31)
    assert after.upper_bound == pytest.approx((before.upper_bound * BELOW + after.population - BELOW) / after.population)


def test_moving_the_line_below_the_harmful_rows_that_were_found_gains_only_those_rows() -> None:
    """The threshold was chosen by looking: the rows read are no random sample for it any more."""
    score = Scored()
    draw = drawn(score, 60)
    high = [row for row in draw.rows if SCORES[row // 2] > 0.0995]
    codes = dict.fromkeys(draw.rows, KEEP) | dict.fromkeys(high, REMOVE)
    there = risk(score, [draw], codes)
    moved = risk(score, [draw], codes, threshold=0.1)
    assert len(high) > 3
    assert moved.upper_bound * moved.population == pytest.approx(there.upper_bound * BELOW - len(high))
    fresh = drawn(score, 60, [draw], threshold=0.1, codes=codes)
    assert not {*fresh.rows} & {*draw.rows} and {*fresh.seen} == {*draw.rows} - {*high}
    found = risk(score, [draw, fresh], codes | dict.fromkeys(fresh.rows, KEEP), threshold=0.1)
    assert (found.method, found.sampled, found.known, found.known_harmful) == ("exact binomial", 60, len(fresh.seen), 0)
    unknown = found.population - found.known
    assert found.upper_bound == pytest.approx(fixed_bound(unknown, 60, 0, confidence=0.955) * unknown / found.population)


def test_reading_for_a_new_line_counts_once_more_is_read_for_it_than_for_the_old_one() -> None:
    score = Scored()
    old = drawn(score, 20)
    codes = dict.fromkeys(old.rows, KEEP)
    new = drawn(score, 60, [old], threshold=0.2, codes=codes)
    methods = []
    for read in (0, 19, 20, 40, 60):
        found = risk(score, [old, new], codes | dict.fromkeys(new.rows[:read], KEEP), threshold=0.2)
        methods.append((found.method, found.sampled))
    assert methods == [("other line", 20), ("other line", 20), ("at any time", 20), ("at any time", 40), ("exact binomial", 60)]


def test_a_draw_for_another_line_owes_nothing_to_rows_that_were_looked_at_before() -> None:
    score = Scored()
    first = drawn(score, 50)
    second = drawn(score, 50, [first], threshold=0.1)
    more = drawn(score, 50, [first, second], threshold=0.1)
    assert second.seed != first.seed and second.seen == [] and more.seed == second.seed
    assert not {*second.rows} & {*more.rows}
    assert is_honest(second, score, [first]) and is_honest(more, score, [first, second])


def audits(*, move: bool, runs: int = 400) -> float:
    """Share of simulated audits whose last statement is wrong: 30 % of the rows next to the line are harmful, few elsewhere."""
    draw_of = np.random.default_rng(7)
    wrong = 0
    for _ in range(runs):
        score = Scored(SCORES)
        harmful = draw_of.random(len(SCORES)) < np.where(SCORES > 0.15, 0.3, 0.03)
        label = {2 * at: REMOVE if bad else KEEP for at, bad in enumerate(harmful.tolist())}
        draws = [drawn(score, 40)]
        codes = {row: label[row] for row in draws[0].rows}
        tau = TAU
        if move:  # to just below the lowest harmful row that was read, as somebody would who wants a good number
            found = [SCORES[row // 2] for row, code in codes.items() if code == REMOVE]
            tau = max(-0.9, float(min(found)) - 0.002) if found else TAU
            if draw_of.random() < 0.5:
                draws.append(drawn(score, 40, draws, threshold=tau, codes=codes))
                codes |= {row: label[row] for row in draws[1].rows}
        wrong += risk(score, draws, codes, threshold=tau).upper_bound < harmful[tau - 0.0005 > SCORES].mean() - 1e-12
    return wrong / runs


def test_looking_at_a_draw_and_taking_back_what_was_decided_gains_nothing() -> None:
    """Rows are read, every decision is undone, the line is put below the lowest harmful row, and rows are drawn for it."""
    draw_of, wrong, runs = np.random.default_rng(3), 0, 800
    values = np.linspace(-1, 1, 20_001).astype(np.float32)
    for _ in range(runs):
        score = Scored(values)
        harmful = draw_of.random(len(values)) < 0.012
        looked = drawn(score, 299)
        found = [values[row // 2] for row in looked.rows if harmful[row // 2]]
        tau = max(-0.9, float(min(found)) - 0.002) if found else TAU
        again = drawn(score, 299, [looked], threshold=tau)
        codes = {row: REMOVE if harmful[row // 2] else KEEP for row in again.rows}
        wrong += risk(score, [looked, again], codes, threshold=tau).upper_bound < harmful[tau - 0.0005 > values].mean()
    assert wrong / runs <= 0.05


def test_going_on_until_the_claim_is_reached_is_wrong_in_at_most_5_of_100_audits() -> None:
    """What the queue does: a first draw, its exact bound, and if that does not do, more rows until the other bound does."""
    draw_of, runs, size, population = np.random.default_rng(5), 1500, 59, 4000
    harmful = np.arange(population) < 0.051 * population
    bounds: dict[int, dict[int, float]] = {at: {} for at in range(1, 401)}
    wrong = 0
    for _ in range(runs):
        counts = np.cumsum(draw_of.permutation(harmful)[:400]).tolist()
        for at in range(1, 401):
            found = counts[at - 1]
            if found > 0.05 * at + 1:  # far from the claim
                continue
            if found not in bounds[at]:
                bounds[at][found] = statement(population, at, found, target=0.05, planned=size).upper_bound
            if bounds[at][found] <= 0.05:
                wrong += 1
                break
    assert wrong / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


@pytest.mark.parametrize("move", [False, True])
def test_the_claim_is_wrong_in_at_most_5_of_100_audits(move: bool) -> None:
    assert audits(move=move) <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_draws_from_scores_that_were_made_anew_say_nothing() -> None:
    score, other = Scored(), Scored(np.append(SCORES[1:], np.float32(-1)) * np.float32(0.9))
    draw = drawn(score, 40)
    codes = held(dict.fromkeys(draw.rows, KEEP))
    assert standing(score, TAU, [draw], codes).below.sampled == 40
    assert standing(other, TAU, [draw], codes).below.sampled == 0


# --- above the line -----------------------------------------------------------------------------------------------------------------


def test_precision_is_told_from_the_rows_drawn_above_the_line() -> None:
    score = Scored()
    draw = drawn(score, 50, region="above")
    codes = dict.fromkeys(draw.rows, REMOVE) | dict.fromkeys(draw.rows[:10], KEEP)
    found = precision(score, TAU, [draw], held(codes))
    assert found.share is not None and (found.population, found.sampled, found.share.value) == (351, 50, 80)
    assert found.sentence.startswith(
        "About 80 % of the 351 flagged rows are harmful (59 to 94 %, 95% confidence, whenever you stop; 50 drawn"
    )
    nothing = precision(score, TAU, [draw], held({}))
    assert nothing.share is None and nothing.pending == 50


def test_rows_without_a_score_are_on_no_side() -> None:
    score = Scored(np.array([0.1, np.nan, 0.5], dtype=np.float32))
    assert drawn(score, 5).rows == [0] and drawn(score, 5, region="above").rows == [4]
    assert risk(score, [drawn(score, 5)], {0: KEEP}).upper_bound == 0.0
