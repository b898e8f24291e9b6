from __future__ import annotations

import pytest

from reft_studio.jobs.eta import StageRate


def steady(rate: float, seconds: float, total: int, *, every: float = 0.1) -> StageRate:
    measured = StageRate()
    for tick in range(round(seconds / every) + 1):
        measured.add(tick * every, round(tick * every * rate), total)
    return measured


def test_nothing_is_shown_before_enough_was_seen() -> None:
    measured = steady(100, 2.9, 10_000)
    assert measured.rate is None and measured.eta_s is None


def test_steady_work_shows_its_rate_and_time_left() -> None:
    measured = steady(100, 10, 10_000)
    assert measured.rate == pytest.approx(100, rel=0.02)
    assert measured.eta_s == pytest.approx(90, rel=0.02)


def test_time_left_is_hidden_while_the_pace_changes_and_comes_back() -> None:
    measured = steady(100, 10, 100_000)
    done = 1000
    for tick in range(1, 80):
        done += 50  # five times faster from here on
        measured.add(10 + tick * 0.1, done, 100_000)
        if tick == 40:
            assert measured.rate is not None and measured.eta_s is None
    for tick in range(80, 500):
        done += 50
        measured.add(10 + tick * 0.1, done, 100_000)
    assert measured.eta_s == pytest.approx((100_000 - done) / 500, rel=0.05)


def test_no_time_left_without_a_total() -> None:
    measured = steady(100, 10, 0)
    assert measured.rate == pytest.approx(100, rel=0.02) and measured.eta_s is None


def test_work_that_stands_still_has_no_time_left() -> None:
    assert steady(0, 10, 100).eta_s is None


def test_going_backwards_or_another_total_starts_anew() -> None:
    for done, total in ((5, 10_000), (1001, 20_000)):
        measured = steady(100, 10, 10_000)
        measured.add(10.5, done, total)
        assert measured.rate is None


def test_the_end_leaves_nothing_to_wait_for() -> None:
    assert steady(100, 10, 1000).eta_s == 0
