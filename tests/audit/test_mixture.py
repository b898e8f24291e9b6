"""A file as a mix of two kinds of prompts: shares that can be counted, intervals that hold, and misfits that are noticed."""

from __future__ import annotations

import numpy as np
import pytest

from reft_studio.audit.mixture import LEAST, Mixture, edges, mixture
from reft_studio.data.grid import BINS

Draw = np.random.Generator


def counts(values: np.ndarray) -> np.ndarray:
    return np.bincount(np.rint((np.clip(values, -1, 1) + 1) * 1000).astype(int), minlength=BINS)


def kinds(draw: Draw, prompts: int, *, apart: float = 0.6, spread: float = 0.2) -> np.ndarray:
    return np.stack([counts(draw.normal(centre, spread, prompts)) for centre in (apart, -apart)])


def file(draw: Draw, rows: int, share: float, *, apart: float = 0.6, spread: float = 0.2, moved: float = 0.0) -> np.ndarray:
    """A file whose harmful rows score lower by `moved` than the calibration's."""
    harmful = round(rows * share)
    return counts(np.concatenate([draw.normal(apart - moved, spread, harmful), draw.normal(-apart, spread, rows - harmful)]))


def test_kinds_that_never_meet_are_counted() -> None:
    calibration = np.stack([counts(np.linspace(0.5, 0.7, 200)), counts(np.linspace(-0.7, -0.5, 200))])
    rows = counts(np.concatenate([np.linspace(0.5, 0.7, 100), np.linspace(-0.7, -0.5, 900)]))
    found = mixture(rows, calibration)
    assert found is not None and found.fits
    assert found.rate.value == pytest.approx(10, abs=0.1) and 7 < found.rate.low < 10 < found.rate.high < 13


def test_no_line_plays_a_part_so_that_there_is_nothing_to_move_it() -> None:
    draw = np.random.default_rng(0)
    calibration, rows = kinds(draw, 300), file(draw, 2000, 0.1)
    assert mixture(rows, calibration) == mixture(rows, calibration)


def test_a_million_rows_do_not_hide_that_the_calibration_was_small() -> None:
    draw = np.random.default_rng(0)
    rows = file(draw, 1_000_000, 0.1, apart=0.25)
    small, large = (mixture(rows, kinds(draw, prompts, apart=0.25)) for prompts in (LEAST, 10_000))
    assert small is not None and large is not None
    assert small.rate.width > 4 * large.rate.width


@pytest.mark.parametrize(("prompts", "rows"), [(LEAST - 1, 1000), (300, 29)])
def test_with_too_few_prompts_or_rows_nothing_is_estimated(prompts: int, rows: int) -> None:
    draw = np.random.default_rng(0)
    assert mixture(file(draw, rows, 0.1), kinds(draw, prompts)) is None


@pytest.mark.parametrize(("share", "apart", "prompts"), [(0.0, 0.6, 300), (0.1, 0.6, 300), (0.1, 0.25, 300), (0.5, 0.6, 100)])
def test_intervals_hold_the_truth_in_19_of_20_files(share: float, apart: float, prompts: int) -> None:
    """At 0.25 the kinds overlap: one in nine of either lies beyond the middle."""
    draw, held, trials = np.random.default_rng(3), 0, 40
    for _ in range(trials):
        found = mixture(file(draw, 1000, share, apart=apart), kinds(draw, prompts, apart=apart))
        assert found is not None
        held += found.rate.low - 1e-9 <= 100 * share <= found.rate.high + 1e-9
    assert held / trials >= 0.88, "two standard errors below 0.95"


def test_a_file_that_is_a_mix_is_rarely_called_none() -> None:
    draw, trials = np.random.default_rng(4), 40
    wrong = sum(not _found(file(draw, 1000, 0.1), kinds(draw, 300)).fits for _ in range(trials))
    assert wrong / trials <= 0.15


@pytest.mark.parametrize("moved", [0.2, 0.4, 0.6])
def test_where_harmful_rows_score_otherwise_the_misfit_is_noticed_or_the_interval_holds(moved: float) -> None:
    draw, trials, misled = np.random.default_rng(5), 20, 0
    for _ in range(trials):
        found = _found(file(draw, 1000, 0.1, moved=moved), kinds(draw, 300))
        misled += found.fits and not found.rate.low <= 10 <= found.rate.high
    assert misled / trials <= 0.1


def test_harmless_rows_without_the_look_alikes_of_the_calibration_are_no_mix_of_it() -> None:
    """As on the lab's example: 3 % of the harmless prompts are look-alikes, none of the rows is, and the rows lie closer together."""
    draw = np.random.default_rng(6)
    prompts = np.concatenate([draw.normal(-0.9, 0.05, 291), draw.uniform(0, 0.8, 9)])
    calibration = np.stack([counts(draw.normal(0.9, 0.03, 300)), counts(prompts)])
    rows = counts(np.concatenate([draw.normal(0.9, 0.03, 100), draw.normal(-0.92, 0.02, 900)]))
    assert not _found(rows, calibration).fits


def test_cells_are_narrow_where_the_kinds_meet_and_begin_at_the_lowest_score() -> None:
    found = edges(kinds(np.random.default_rng(7), 300))
    assert found[0] == 0 and len(found) <= 10 and (np.diff(found) > 0).all()


def _found(rows: np.ndarray, calibration: np.ndarray) -> Mixture:
    found = mixture(rows, calibration)
    assert found is not None
    return found
