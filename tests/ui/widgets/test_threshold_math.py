from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from reft_studio import stats
from reft_studio.data.grid import flagged, is_flagged
from reft_studio.scoring.scores import histogram

Run = Callable[..., Any]
TINY = [[900, 3, 0, 3], [1000, 2, 1, 1], [1400, 1, 1, 0], [1800, 2, 1, 0]]
"""[bin, rows, known harmful, known harmless]: eight rows, one of them unlabelled."""


def scored(rows: int = 400, *, seed: int = 0) -> tuple[np.ndarray, list[bool | None]]:
    draw = np.random.default_rng(seed)
    harmful = draw.random(rows) < 0.2
    scores = np.clip(draw.normal(np.where(harmful, 0.4, -0.3), 0.3), -1, 1).astype(np.float32)
    truth = [None if draw.random() < 0.1 else bool(value) for value in harmful]
    return scores, truth


def test_counts_at_a_threshold_are_those_of_rows_at_or_above_it(run_js: Run) -> None:
    counts = run_js("threshold_math", "countsAt(suffixSums(data), toIndex(0))", TINY)
    assert (counts["total"], counts["flagged"], counts["kept"]) == (8, 5, 3)
    assert (counts["tp"], counts["fp"], counts["fn"], counts["tn"]) == (3, 1, 0, 3)
    assert counts["precision"] == pytest.approx(3 / 4)
    assert counts["recall"] == 1
    assert counts["fpr"] == pytest.approx(1 / 4)


def test_counts_are_exact_at_every_threshold_of_the_grid(run_js: Run) -> None:
    scores, truth = scored()
    taus = [-1.0, -0.312, -0.05, 0.0, 0.001, 0.217, 0.5, 0.999, 1.0]
    program = "data.taus.map((t) => countsAt(suffixSums(data.bins), toIndex(t)))"
    found = run_js("threshold_math", program, {"bins": histogram(scores, truth), "taus": taus})
    for tau, counts in zip(taus, found, strict=True):
        dropped = flagged(scores, tau)
        known = np.array([value is not None for value in truth])
        harmful = np.array([bool(value) for value in truth]) & known
        assert counts["flagged"] == int(dropped.sum())
        assert counts["tp"] == int((dropped & harmful).sum())
        assert counts["fp"] == int((dropped & known & ~harmful).sum())
        assert counts["tp"] + counts["fp"] + counts["fn"] + counts["tn"] == int(known.sum())


def test_the_browser_and_python_flag_the_same_rows_at_every_threshold(run_js: Run) -> None:
    halves = (np.arange(2000) + 0.5) / 1000 - 1  # as far from one bin of the grid as from the next
    scores = np.concatenate([np.arange(2001) / 1000 - 1, halves, scored(200)[0], [0.0625, -0.4375, -1.5, 1.5]]).astype(np.float32)
    known: list[float | None] = [*scores.tolist(), None]
    program = "Array.from({length: GRID}, (_, i) => data.filter((score) => isFlagged(score, toValue(i))).length)"
    everywhere = [int(flagged(scores, line / 1000 - 1).sum()) for line in range(2001)]
    assert run_js("threshold_math", program, known) == everywhere
    for line in (-1.0, -0.4375, -0.001, 0.0, 0.0625, 0.063, 0.31, 0.9995, 1.0):
        at = run_js("threshold_math", f"data.map((score) => isFlagged(score, {line}))", known)
        assert at == [is_flagged(score, line) for score in known], line


def test_a_row_without_a_score_is_flagged_nowhere_in_the_browser(run_js: Run) -> None:
    assert run_js("threshold_math", "[null, NaN, undefined].map((score) => isFlagged(score, -1))") == [False, False, False]


def test_a_higher_threshold_never_flags_more(run_js: Run) -> None:
    scores, truth = scored(seed=3)
    program = "Array.from({length: GRID}, (_, i) => countsAt(suffixSums(data), i).flagged)"
    counts = run_js("threshold_math", program, histogram(scores, truth))
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize(("k", "n"), [(0, 300), (3, 7), (300, 300), (412, 5000), (1, 1)])
def test_intervals_are_those_of_the_statistics_module(run_js: Run, k: int, n: int) -> None:
    low, high = run_js("threshold_math", "wilson(data[0], data[1])", [k, n])
    expected = stats.wilson(k, n)
    assert (100 * low, 100 * high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_interval_of_nothing_is_nothing(run_js: Run) -> None:
    assert run_js("threshold_math", "[wilson(0, 0)]") == [None]


def test_area_under_the_curve_is_the_one_of_the_statistics_module(run_js: Run) -> None:
    scores, truth = scored(seed=5)
    rounded = np.round(scores.astype(float), 3)
    positive = [score for score, known in zip(rounded, truth, strict=True) if known is True]
    negative = [score for score, known in zip(rounded, truth, strict=True) if known is False]
    area = run_js("threshold_math", "areaUnderRoc(curvePoints(suffixSums(data)))", histogram(scores, truth))
    assert area == pytest.approx(stats.auroc(positive, negative), abs=1e-6)


def test_bars_hold_every_row_once_and_start_on_the_grid(run_js: Run) -> None:
    scores, truth = scored(seed=2)
    bins = histogram(scores, truth)
    program = "(() => { const [low, high] = axisRange(data, [0]); return bars(data, low, high, 60); })()"
    found = run_js("threshold_math", program, bins)
    assert sum(bar["rows"] for bar in found) == len(scores)
    assert len(found) <= 60
    assert all(found[i]["to"] == found[i + 1]["from"] for i in range(len(found) - 1))


def test_the_axis_holds_the_data_and_the_marks(run_js: Run) -> None:
    low, high = run_js("threshold_math", "axisRange(data, [-0.5, 0.95])", [[900, 1, 0, 0], [1200, 1, 0, 0]])
    assert low <= 500
    assert high >= 1950


def test_cheapest_threshold_follows_the_price_of_a_miss(run_js: Run) -> None:
    mixed = [[800, 10, 1, 9], [1200, 10, 9, 1]]
    strict = run_js("threshold_math", "cheapest(suffixSums(data), 1)", mixed)
    careful = run_js("threshold_math", "cheapest(suffixSums(data), 100)", mixed)
    assert 800 < strict["index"] <= 1200
    assert careful["index"] <= 800


def test_no_threshold_is_cheapest_without_both_kinds_of_labels(run_js: Run) -> None:
    assert run_js("threshold_math", "[cheapest(suffixSums(data), 1)]", [[800, 10, 0, 9]]) == [None]


def test_the_summary_says_what_is_flagged_missed_and_wrong(run_js: Run) -> None:
    text = run_js("threshold_math", "sentence(countsAt(suffixSums(data), toIndex(0.4)))", TINY)
    assert text == (
        "3 of 8 rows are flagged (37.5 %). They include 2 of the 3 rows known to be harmful; 1 would stay in. "
        "0 of 4 harmless rows would be removed wrongly."
    )


def test_the_summary_of_an_unlabelled_file_claims_nothing(run_js: Run) -> None:
    text = run_js("threshold_math", "sentence(countsAt(suffixSums(data), 1000))", [[1100, 1, 0, 0], [500, 9, 0, 0]])
    assert text.startswith("1 of 10 rows is flagged (10.0 %).")
    assert "not known" in text


def test_a_tiny_negative_score_is_not_minus_zero(run_js: Run) -> None:
    assert run_js("threshold_math", "[signed(-0.0003), signed(-0.0006), signed(0.25)]") == ["0.000", "\u22120.001", "0.250"]
