"""What is shown of a file and what is withheld, with the reason and the way out, case by case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reft_studio.audit.assurance import Standing
from reft_studio.audit.claim import statement
from reft_studio.audit.estimates import AtLine, Evidence, at_line, auroc, disagree, estimates
from reft_studio.audit.language import LanguageCoverage
from reft_studio.audit.precision import Precision
from reft_studio.audit.sample import Sample, no_sample
from reft_studio.data.grid import BINS
from reft_studio.stats import Estimate, wilson

DRAW = np.random.default_rng(0)


def counts(values: np.ndarray) -> np.ndarray:
    return np.bincount(np.rint((np.clip(values, -1, 1) + 1) * 1000).astype(int), minlength=BINS)


def scores(centre: float, rows: int, spread: float = 0.15) -> np.ndarray:
    return counts(DRAW.normal(centre, spread, rows))


CALIBRATION = np.stack([scores(0.6, 300), scores(-0.6, 300)])
NONE = np.zeros(BINS, dtype=np.int64)
HARMFUL, HARMLESS = scores(0.6, 100), scores(-0.6, 900)
LINE = 1000
CLEAR = Evidence(np.stack([NONE, NONE, HARMFUL + HARMLESS]), CALIBRATION, no_sample(1000))
MOVED = replace(CLEAR, file=np.stack([NONE, NONE, scores(0.1, 1000)]))


def sample(harmful: int, read: int, *, rows: int = 1000, unsure: int = 0) -> Sample:
    """Harmful rows score 0.6, the others -0.6."""
    truth = np.arange(read) < harmful
    doubt = (np.arange(read) >= harmful) & (np.arange(read) < harmful + unsure)
    none = np.zeros(0, dtype=np.int64)
    return Sample(rows, np.where(truth, 1600, 400), truth, doubt, none, none > 0, none > 0, 0)


def test_a_file_that_fits_gets_one_share_that_says_on_what_it_rests() -> None:
    found = estimates(CLEAR)
    assert (found.source, found.by, found.withheld) == ("mixture", "calibration", None)
    assert found.rate is not None and found.rate.low < 10 < found.rate.high
    assert "mix of the calibration" in found.sentence and "cannot see" in found.sentence


def test_at_a_line_precision_and_rows_that_stay_come_from_that_share() -> None:
    found = at_line(estimates(CLEAR), CLEAR, LINE)
    assert found.precision is not None and found.precision.value > 99 and found.precision.low > 75
    assert found.staying is not None and found.staying.value < 1 and found.staying.high < 5


def test_scores_that_are_no_mix_withhold_everything_and_say_what_to_do() -> None:
    found = estimates(MOVED)
    assert (found.source, found.by, found.rate) == ("none", "none", None)
    assert found.withheld is not None and found.withheld.kind == "drift"
    assert "no mix" in found.sentence and "50 random rows" in found.sentence and "another teacher" in found.sentence
    assert at_line(found, MOVED, LINE) == AtLine(None, None)


@pytest.mark.parametrize(
    ("changed", "kind", "why"),
    [
        ({"calibration": None}, "no calibration", "no calibration prompts"),
        ({"calibration": np.stack([NONE, CALIBRATION[1]])}, "one class", "harmless prompts only"),
        ({"calibration": np.stack([scores(0.6, 40), scores(-0.6, 40)])}, "few prompts", "40 harmful and 40 harmless"),
        ({"file": np.stack([NONE, NONE, scores(-0.6, 20)])}, "few rows", "20 scored rows"),
        ({"reading": LanguageCoverage(unfamiliar=0.62)}, "language", "62% of the words"),
        (
            {"reading": LanguageCoverage(unread=0.4, languages="German, French")},
            "language",
            "40% of the rows are in languages (German, French)",
        ),
    ],
)
def test_what_speaks_against_the_calibration_is_named(changed: dict[str, object], kind: str, why: str) -> None:
    found = estimates(replace(CLEAR, **changed))  # type: ignore[arg-type]
    assert found.rate is None and found.withheld is not None
    assert found.withheld.kind == kind and why in found.withheld.why and found.withheld.remedy


def test_fifty_random_rows_bring_back_what_was_withheld() -> None:
    few, enough = (estimates(replace(MOVED, sample=sample(read // 10, read))) for read in (30, 50))
    assert few.rate is None and "30 of 50 random rows are read" in few.sentence
    assert (enough.source, enough.by) == ("reviewed", "sample") and enough.withheld is not None
    assert enough.rate is not None and enough.rate.value == 10 and enough.rate.low == pytest.approx(wilson(5, 50).low)
    line = at_line(enough, replace(MOVED, sample=sample(5, 50)), LINE)
    assert line.precision is not None and line.precision.value == 100 and line.precision.n == 5
    assert line.staying is not None and line.staying.value == 0 and line.staying.high > 0


def test_random_rows_take_over_once_they_say_more() -> None:
    wide, narrow = (estimates(replace(CLEAR, sample=sample(read // 10, read))) for read in (50, 900))
    assert wide.source == "mixture" and "That agrees" in wide.checked
    assert narrow.source == "reviewed" and narrow.by == "calibration" and narrow.rate is not None and narrow.rate.n == 900


def test_random_rows_that_contradict_the_scores_take_over_at_once() -> None:
    found = estimates(replace(CLEAR, sample=sample(20, 50)))
    assert found.source == "reviewed" and found.by == "sample"
    assert found.withheld is not None and found.withheld.kind == "contradicted" and "20 harmful" in found.withheld.why


def test_flagged_rows_drawn_at_random_can_contradict_the_calibration_too() -> None:
    above = Precision(100, 40, 4, wilson(4, 40), 0, "")
    found = estimates(replace(CLEAR, line=LINE, standing=Standing(statement(900, 0, 0), above)))
    assert found.withheld is not None and found.withheld.kind == "contradicted"
    assert "Of 40 random flagged rows 4 are harmful" in found.withheld.why


def test_where_all_rows_are_labelled_the_labels_are_counted() -> None:
    """As on the lab's example: the scores are no mix of the calibration, the labels know the truth."""
    labelled = replace(CLEAR, file=np.stack([HARMFUL, scores(-0.9, 900, 0.02), NONE]))
    found = estimates(labelled)
    assert (found.source, found.by) == ("labels", "labels") and "100 of 1,000, counted" in found.sentence
    assert found.rate == Estimate(10, 10, 10, 1000, 0, "labels")
    line = at_line(found, labelled, LINE)
    assert line.precision is not None and (line.precision.low, line.precision.high) == (100, 100)
    assert line.staying is not None and line.staying.high == 0
    assert found.withheld is not None, "a preset still promises nothing"


def test_some_labels_are_told_for_comparison_and_do_not_count_for_the_rest() -> None:
    found = estimates(replace(CLEAR, file=np.stack([scores(0.6, 5), scores(-0.6, 5), HARMFUL + HARMLESS])))
    assert found.source == "mixture" and "5 of the 10 labelled rows" in found.checked


def test_labelled_rows_of_a_kind_that_score_otherwise_withhold_the_rest() -> None:
    found = estimates(replace(CLEAR, file=np.stack([NONE, scores(-0.2, 60), HARMFUL + HARMLESS])))
    assert found.withheld is not None and "Rows labelled harmless score otherwise" in found.withheld.why


@pytest.mark.parametrize(("kinds", "said"), [((0, 1), "labelled harmless"), ((1, 0), "labelled harmful")])
def test_a_file_of_one_class_is_counted_and_says_what_it_cannot_show(kinds: tuple[int, int], said: str) -> None:
    found = estimates(replace(CLEAR, file=np.stack([HARMFUL * kinds[0], HARMLESS * kinds[1], NONE])))
    assert found.source == "labels" and said in found.sentence and "says nothing of" in found.sentence
    assert not disagree(np.stack([HARMFUL * kinds[0], HARMLESS * kinds[1], NONE]))


def test_labels_that_contradict_the_scores_are_told_whatever_else_is_known() -> None:
    swapped = replace(CLEAR, file=np.stack([HARMLESS, HARMFUL, NONE]))
    found, all_of_them = estimates(swapped), estimates(replace(swapped, others_disagree=True))
    assert found.source == "labels" and "contradict these scores" in found.checked and "another scorer" in found.checked
    assert "every scorer" in all_of_them.checked and found.withheld is not None and found.withheld.kind == "labels"


def test_random_rows_check_the_labels() -> None:
    labelled = replace(CLEAR, file=np.stack([HARMFUL, HARMLESS, NONE]))
    assert "That agrees" in estimates(replace(labelled, sample=sample(5, 50))).checked
    assert "contradicts the labels" in estimates(replace(labelled, sample=sample(25, 50))).checked


def test_the_area_under_the_curve_counts_ties_half() -> None:
    file = np.zeros((3, BINS), dtype=np.int64)
    file[0, [5, 7]], file[1, [5, 3]] = 1, 1
    assert auroc(file)[0] == pytest.approx((0.5 + 1 + 1 + 1) / 4)
