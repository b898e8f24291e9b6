"""Distances on a grid of a few bins that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from reft_studio.audit.drift import drift, ks
from reft_studio.errors import EvaluationError

BINS = 2001


def counts(*places: tuple[int, int]) -> np.ndarray:
    """(bins,) with these numbers of scores at these bins."""
    found = np.zeros(BINS, dtype=np.int64)
    for place, number in places:
        found[place] += number
    return found


CALIBRATION = np.stack([counts((1800, 80), (1500, 20)), counts((300, 90), (800, 10))])
NONE = counts()


def test_the_distance_is_the_largest_gap_between_the_two_curves() -> None:
    """Up to bin 300: 50 of 100 against 90 of 100; up to bin 800 both are whole."""
    found = ks(counts((300, 50), (800, 50)), CALIBRATION[1])
    assert found.value == pytest.approx(0.4) and found.at == pytest.approx(-0.7)
    assert found.chance == pytest.approx(1.358 * (2 / 100) ** 0.5)


def test_a_file_that_is_a_mix_of_both_kinds_has_not_drifted() -> None:
    file = np.stack([NONE, NONE, 9 * CALIBRATION[1] + CALIBRATION[0]])
    found = drift(file, CALIBRATION)
    assert found is not None
    assert found.share == pytest.approx(0.1) and found.mix.value < 1e-9 and found.verdict == "fits"
    assert found.harmless is None and found.harmful is None, "no labels"


def test_a_file_between_the_kinds_is_explained_by_no_mix() -> None:
    file = np.stack([NONE, NONE, counts((1100, 1000))])
    found = drift(file, CALIBRATION)
    assert found is not None
    assert found.mix.value >= 0.5 and found.verdict == "shifted"


def test_labelled_harmless_rows_that_score_higher_are_noticed_though_a_mix_explains_the_file() -> None:
    """Half of the harmless rows score as harmful prompts do: as a whole the file looks half poisoned."""
    harmless = counts((300, 90), (800, 10), (1800, 80), (1500, 20))
    found = drift(np.stack([NONE, harmless, NONE]), CALIBRATION)
    assert found is not None and found.harmless is not None
    assert found.mix.verdict == "fits" and found.share == pytest.approx(0.5)
    assert found.harmless.verdict == "shifted" and found.verdict == "shifted"


def test_a_surely_seen_but_tiny_shift_is_called_small() -> None:
    nearly = counts((300, 850_000), (800, 150_000))
    many = np.stack([counts((1800, 80_000), (1500, 20_000)), counts((300, 90_000), (800, 10_000))])
    found = drift(np.stack([NONE, nearly, NONE]), many)
    assert found is not None
    assert found.verdict == "small"


def test_few_rows_are_no_ground_for_a_verdict() -> None:
    found = drift(np.stack([NONE, NONE, counts((1100, 12))]), CALIBRATION)
    assert found is not None
    assert found.verdict == "too few"


def test_without_scores_or_prompts_of_a_kind_there_is_nothing_to_compare() -> None:
    assert drift(np.stack([NONE, NONE, NONE]), CALIBRATION) is None
    assert drift(np.stack([NONE, NONE, counts((5, 5))]), np.stack([CALIBRATION[0], NONE])) is None
    with pytest.raises(EvaluationError, match="not on one grid"):
        drift(np.zeros((3, 10), dtype=np.int64), CALIBRATION)


def test_a_file_from_the_same_source_is_rarely_called_drifted() -> None:
    draw, wrong, trials = np.random.default_rng(0), 0, 200
    for _ in range(trials):
        kinds = [np.clip(draw.normal(centre, 0.2, 300), -1, 1) for centre in (0.6, -0.6)]
        rows = np.clip(np.r_[draw.normal(0.6, 0.2, 50), draw.normal(-0.6, 0.2, 950)], -1, 1)
        binned = [np.bincount(np.rint((values + 1) * 1000).astype(int), minlength=BINS) for values in (*kinds, rows)]
        found = drift(np.stack([NONE, NONE, binned[2]]), np.stack(binned[:2]))
        assert found is not None
        wrong += found.verdict != "fits"
    assert wrong / trials <= 0.05
