"""What the review page says of the rows on both sides of the line."""

from __future__ import annotations

import pytest

from reft_studio.audit.assurance import Standing
from reft_studio.audit.checks import CheckReading, readers
from reft_studio.audit.claim import Checks, statement
from reft_studio.audit.held import KEEP, REMOVE
from reft_studio.audit.precision import Precision
from reft_studio.stats import wilson
from ui.review.standing_words import above_line, below_line, plain, reader_line, share, standing_words


def test_before_anything_is_read_it_says_so_and_what_to_read() -> None:
    found = statement(829, 0, 0)
    assert below_line(found).startswith("Nothing is known yet of the 829 rows below the line. Read 309 random rows, none harmful,")
    assert "at most" not in plain(found)


def test_a_bound_is_told_as_a_share_and_as_rows_that_never_exceed_it() -> None:
    found = statement(1000, 299, 0)
    said = below_line(found)
    rows = int(found.upper_bound * 1000)
    assert said.startswith(f"At most {share(found.upper_bound)} of the 1,000 rows below the line are harmful ({rows} rows):")
    assert "299 random rows read, 0 harmful" in said
    assert f"at most {rows} harmful rows among all 1,000" in plain(found)
    assert "5 of 100 reviews" in plain(found)


def test_an_unfinished_draw_says_how_many_of_it_were_read_and_may_stop_early() -> None:
    found = statement(1000, 50, 1, planned=299, pending=249)
    assert "50 of 299 random rows read, 1 harmful" in below_line(found)
    assert "also if you stop early" in plain(found)


def test_all_rows_read_is_no_estimate_any_more() -> None:
    assert below_line(statement(40, 40, 2)) == "All of the 40 rows below the line were read: 5.0 % of them are harmful."
    assert below_line(statement(40, 40, 0)).endswith("0.0 % of them are harmful.")


def test_no_rows_below_and_no_scores_are_said_in_words() -> None:
    assert below_line(statement(0, 0, 0)).startswith("No row lies below the line")
    assert standing_words(None)["risk"].startswith("Without scores")


@pytest.mark.parametrize(("value", "told"), [(0.01, "1.0 %"), (0.01001, "1.1 %"), (0.0, "0.0 %"), (0.00042, "0.042 %")])
def test_a_share_is_rounded_up(value: float, told: str) -> None:
    assert share(value) == told


def test_flagged_rows_have_a_share_with_its_interval() -> None:
    assert "none of those drawn at random was read" in above_line(Precision(171, 0, 0, None, 100, ""))
    said = above_line(Precision(171, 50, 45, wilson(45, 50), 50, ""))
    assert said == "About 90 % of the 171 flagged rows are harmful (78 to 96 %): 50 random rows read, 45 harmful."
    words = standing_words(Standing(statement(1000, 299, 0), Precision(0, 0, 0, None, 0, "")))
    assert words["above"] == "No row lies above the line."
    assert "45 harmful, 3 unsure." in above_line(Precision(171, 50, 45, wilson(45, 50), 50, "", unsure=3))


def test_beside_the_claim_stands_what_reviewers_overlook_each_of_them_and_what_the_claim_makes_of_it() -> None:
    found = statement(1000, 299, 0, checks=Checks(20, 18, 20, 20))
    readings = [CheckReading(-1 - n, KEEP if n in (3, 4) else REMOVE, "human:Ana" if n < 12 else "human:Tom") for n in range(20)]
    said = reader_line(found, readers(readings))
    assert said.startswith("Reviewers found 18 of 20 checks, 90 % (68 to 99 %) (Ana 10 of 12; Tom 8 of 8). The claim takes them to find at")
    assert "none harmful and every check found" in below_line(found)
    assert "short English prompts" in plain(found) and "harder to see" in plain(found)


def test_without_checks_it_says_what_it_takes_for_granted() -> None:
    assert reader_line(statement(1000, 299, 0)).startswith("The claim takes for granted that reviewers overlook nothing")
    assert reader_line(statement(1000, 0, 0)) == ""
    assert "is not known" in reader_line(statement(1000, 10, 0, planned=299, checks=Checks(0, 0, 20, 20)))
