"""Random rows of a whole file, read in order: counts that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from reft_studio.audit.draw import Draw, make
from reft_studio.audit.held import KEEP, REMOVE, UNSURE
from reft_studio.audit.sample import EVERYWHERE, WANTED, Sample, no_sample, sample_of
from reft_studio.stats import wilson
from tests.audit.test_assurance import TAU, Scored, held


def drawn(score: Scored, count: int, before: list[Draw], codes: dict[int, int]) -> Draw:
    return make(score, EVERYWHERE, "above", count=count, before=before, decided=held(codes), head=(0, ""))  # type: ignore[arg-type]


def read(score: Scored, draws: list[Draw], codes: dict[int, int]) -> Sample:
    return sample_of(score, draws, held(codes))  # type: ignore[arg-type]


def test_a_draw_from_the_whole_file_takes_scored_rows_only() -> None:
    score = Scored(np.array([*np.linspace(-1, 1, 100), *[np.nan] * 900], dtype=np.float32))
    rows = drawn(score, 60, [], {}).rows
    assert len(set(rows)) == 60 and max(rows) < 200


def test_nothing_is_said_before_fifty_rows_are_read_in_their_order() -> None:
    score = Scored()
    draw = drawn(score, 60, [], {})
    skipped = {row: KEEP for row in draw.rows if row != draw.rows[10]}
    assert read(score, [draw], skipped).read == 10 and read(score, [draw], skipped).rate() is None
    found = read(score, [draw], {row: KEEP for row in draw.rows[:WANTED]})
    assert found.speaks and found.waiting == 10
    assert found.rate() is not None and found.rate().low == 0  # type: ignore[union-attr]


def test_the_share_is_wilsons_and_doubt_widens_it_upwards() -> None:
    score = Scored()
    draw = drawn(score, 50, [], {})
    codes = dict(zip(draw.rows, [REMOVE] * 5 + [UNSURE] * 5 + [KEEP] * 40, strict=True))
    found = read(score, [draw], codes).rate()
    assert found is not None
    assert found.value == pytest.approx(10) and found.low == pytest.approx(wilson(5, 50).low)
    assert found.high == pytest.approx(wilson(10, 50).high)


def test_a_small_file_that_was_read_as_a_whole_is_known() -> None:
    score = Scored(np.linspace(-1, 1, 20).astype(np.float32))
    draw = drawn(score, 50, [], {})
    found = read(score, [draw], dict(zip(draw.rows, [REMOVE] * 2 + [KEEP] * 18, strict=True))).rate()
    assert found is not None and (found.value, found.low, found.high) == (10, 10, 10)


def test_rows_read_for_a_line_before_are_counted_as_they_are_and_not_drawn_again() -> None:
    score = Scored()
    first = make(score, TAU, "below", count=30, before=[], decided=held({}), head=(0, ""))  # type: ignore[arg-type]
    codes = dict.fromkeys(first.rows, REMOVE)
    draw = drawn(score, 50, [first], codes)
    assert not set(draw.rows) & set(first.rows)
    found = read(score, [first, draw], {**codes, **dict.fromkeys(draw.rows, KEEP)}).rate()
    assert found is not None and found.value == pytest.approx(100 * 30 / 1001)


def test_an_unsure_row_known_before_raises_the_upper_end_alone() -> None:
    score = Scored()
    first = make(score, TAU, "below", count=30, before=[], decided=held({}), head=(0, ""))  # type: ignore[arg-type]
    codes = dict.fromkeys(first.rows, KEEP)
    draw = drawn(score, 50, [first], codes)
    harmless = read(score, [first, draw], {**codes, **dict.fromkeys(draw.rows, KEEP)}).rate()
    unsure = read(score, [first, draw], {**codes, first.rows[0]: UNSURE, **dict.fromkeys(draw.rows, KEEP)}).rate()
    assert harmless is not None and unsure is not None
    assert (unsure.value, unsure.low) == (harmless.value, harmless.low) == (0, 0)
    assert unsure.high == pytest.approx(harmless.high + 100 / 1001)


def test_both_sides_of_any_line_are_told_from_the_same_rows() -> None:
    score = Scored()
    draw = drawn(score, 50, [], {})
    bins = dict(zip(score.row_ids().tolist(), score.bins().tolist(), strict=True))
    line = 1500
    found = read(score, [draw], {row: REMOVE if bins[row] >= line else KEEP for row in draw.rows})
    over = sum(bins[row] >= line for row in draw.rows)
    above, below = found.above(line, 251), found.below(line, 750)
    assert above is not None and below is not None
    assert (above.value, above.n, below.value, below.n) == (100, over, 0, 50 - over)
    assert found.clean().max() < line and len(found.clean()) == 50 - over


def test_a_sample_outlives_the_scores_it_was_drawn_beside() -> None:
    score, other = Scored(), Scored(np.linspace(1, -1, 1001).astype(np.float32), key="other")
    draw = drawn(score, 50, [], {})
    assert read(other, [draw], dict.fromkeys(draw.rows, KEEP)).speaks
    assert no_sample(1001).rate() is None
