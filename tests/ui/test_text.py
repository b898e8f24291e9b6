"""Every untrusted string crosses `show`, every number is written the same way everywhere."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reft_studio.stats import wilson
from ui import text


@pytest.mark.parametrize(
    ("raw", "shown"), [("invoice\u202egnp.exe", "invoice⟨U+202E⟩gnp.exe"), ("a\ud800b", "a⟨U+D800⟩b"), ("a\x00b", "a⟨U+0000⟩b")]
)
def test_marks_that_hide_what_a_text_says_are_spelled_out(raw: str, shown: str) -> None:
    assert text.show(raw) == shown


def test_ordinary_text_of_any_script_is_left_alone() -> None:
    ordinary = "Ünïcode, 中文, العربية, emoji 🙂, a tab\tand a line\nbreak"
    assert text.show(ordinary) == ordinary


@given(st.text(st.characters(), max_size=300))
def test_whatever_was_shown_can_be_sent_to_a_page(raw: str) -> None:
    orjson.dumps(text.show(raw))
    orjson.dumps(text.mask(raw))


def test_a_cut_text_says_how_much_is_missing() -> None:
    assert text.show("x" * 3000, 10) == "xxxxxxxxxx … (cut, 2,990 more characters)"


def test_a_masked_text_keeps_a_few_words_and_its_length() -> None:
    assert text.mask("How do I enter a locked house unseen, please?") == "How do I ••• masked (45 characters)"
    assert text.mask("") == "••• masked (0 characters)"


def test_most_of_a_short_text_is_masked_too() -> None:
    assert text.mask("Yes, like this") == "Yes, ••• masked (14 characters)"
    assert text.mask("Placeholder") == "••• masked (11 characters)"
    assert text.mask("unseen" * 50) == "••• masked (300 characters)"


def test_numbers_are_written_for_people() -> None:
    assert text.percent(wilson(8, 100)) == "8.0 % (4.1 to 15.0)"
    assert text.percent(None) == text.percent(float("nan")) == text.count(None) == text.number(None) == "–"
    assert text.count(1234567) == "1,234,567"
    assert text.counted(1, "row") == "1 row" and text.counted(0, "entry", "entries") == "0 entries"
    assert [text.seconds(value) for value in (0.42, 42.4, 125, 4320)] == ["0.4 s", "42 s", "2 min 5 s", "1 h 12 min"]
    assert [text.size(value) for value in (812, 3_400_000, 2.5e12)] == ["812 B", "3.4 MB", "2.5 TB"]


def test_times_are_told_as_distance_and_then_as_date() -> None:
    now = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
    assert text.ago("2026-05-04T11:59:30+00:00", now=now) == "just now"
    assert text.ago(now.timestamp() - 600, now=now) == "10 min ago"
    assert text.ago("2026-05-04T09:00:00", now=now) == "3 h ago"
    assert text.ago("2026-05-01T09:00:00", now=now) == "01 May 2026"
