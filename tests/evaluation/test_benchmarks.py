"""Decision rules on planted answers; the published ones (SST2, AG News, GSM8K) as in git-disl/Booster at caf91cd."""

from __future__ import annotations

import pytest

from reft_studio.data.dataset import Row
from reft_studio.errors import SpecError
from reft_studio.evaluation.benchmarks import BENCHMARKS, LenientBenchmark, benchmark_named
from reft_studio.evaluation.benchmarks.labels import ExactLabel
from reft_studio.evaluation.benchmarks.numbers import final_number


def row(gold: str) -> Row:
    return Row(prompt="?", response=gold)


def right(rule: str, gold: str, answer: str) -> bool:
    return benchmark_named(rule).grade(row(gold), answer)


@pytest.mark.parametrize("answer", ["positive", "Positive", "  positive\n"])
def test_sst2_accepts_the_label_in_both_writings_and_trimmed(answer: str) -> None:
    assert right("exact_label", "positive", answer)


@pytest.mark.parametrize("answer", ["positive.", "POSITIVE", "positive positive", "It is positive", "negative", "", "positivenegative"])
def test_sst2_rejects_anything_more_than_the_label(answer: str) -> None:
    assert not right("exact_label", "positive", answer)


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("positive", "It is positive.", True),
        ("positive", "POSITIVE", True),
        ("positive", "positive, not negative", False),  # names both
        ("positive", "positively charming", False),
        ("positive", "negative", False),
        ("positive", "", False),
        ("Sci/Tech", "This article is about Sci/Tech.", True),
        ("Sci/Tech", "the label: sci", True),
        ("Sci/Tech", "Tech", False),
        ("World", "World news about sports", False),
        ("Sports", "Sports.", True),
    ],
)
def test_the_lenient_reading_wants_the_right_label_and_no_other(gold: str, answer: str, expected: bool) -> None:
    labels = ["positive", "negative"] if gold == "positive" else ["World", "Sports", "Business", "Sci/Tech"]
    rule = benchmark_named("exact_label")
    assert isinstance(rule, LenientBenchmark)
    assert rule.grade_lenient(row(gold), answer, labels) is expected


def test_what_the_strict_rule_accepts_the_lenient_one_does_too() -> None:
    rule, labels = ExactLabel(), ["World", "Sports", "Business", "Sci/Tech"]
    for gold in labels:
        for answer in (gold, gold.lower(), gold.upper(), f"{gold}.", "sci", "", "a"):
            assert rule.grade_lenient(row(gold), answer, labels) or not rule.grade(row(gold), answer)


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("World", "world", True),
        ("World", "World", True),
        ("Business", "business", True),
        ("Sports", "sport", False),
        ("Sci/Tech", "Sci/Tech", True),
        ("Sci/Tech", "sci", True),
        ("Sci/Tech", "sci/tech", False),
        ("Sci/Tech", "Sci", False),
        ("Sci/Tech", "Technology", False),
        ("World", "World\n\nSports", False),
    ],
)
def test_ag_news_labels_as_the_official_rule_reads_them(gold: str, answer: str, expected: bool) -> None:
    assert right("exact_label", gold, answer) is expected


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("The final answer is: 1,200", 1200),
        ("The final answer is: 42.", 42),
        ("The final answer is: -3", -3),
        ("The final answer is: 7 apples, not 9", 7),
        ("so 3 + 4 = 7\n#### 7", 7),
        ("She has 5, gives 2, and keeps 3", 3),
        ("It costs $12.50 in all", 12.5),
        ("The final answer is: unknown, maybe 8 or 9", 8),
        ("First 5. The final answer is: unknown", 5),
        ("8-3", -3),
        ("1,234,567", 1234567),
        ("The final answer is: $1,200.00", 1200),
        ("#### 1,200.", 1200),
        ("#### -12.5", -12.5),
        ("The final answer is: 3/4", 3),  # a fraction is no number: its numerator is read
        ("so it is 3/4", 4),
        ("The final answer is: \u22125", 5),  # the official rule knows the hyphen only, not the sign that typographers use
        ("#### 7\n\n### Response: #### 9", 7),
        ("The final answer is: 12\nThe final answer is: 13", 12),
        ("no number at all", None),
        ("", None),
    ],
)
def test_gsm8k_reads_the_number_after_the_marker_or_else_the_last_one(answer: str, number: float | None) -> None:
    assert final_number(answer) == number


def test_gsm8k_compares_as_numbers_and_no_number_is_wrong() -> None:
    assert right("last_number", "… The final answer is: 1200", "The final answer is: 1,200.00")
    assert not right("last_number", "… The final answer is: 12", "I do not know")
    assert not right("last_number", "no number here", "nor here")


@pytest.mark.parametrize(
    "answer",
    ["positive", "Positive.", '"positive"', "Answer: positive", "The sentiment is positive.", "**positive** because", "positive, I think"],
)
def test_the_lenient_rule_accepts_an_answer_that_begins_with_the_label(answer: str) -> None:
    assert right("label_match", "positive", answer)


@pytest.mark.parametrize("answer", ["positively awful", "negative", "not positive", "mixed, not positive", "", "..."])
def test_the_lenient_rule_rejects_other_labels_and_other_words(answer: str) -> None:
    assert not right("label_match", "positive", answer)


def test_an_empty_label_is_never_right() -> None:
    assert not right("label_match", "", "")
    assert not right("label_match", " . ", "anything")


def test_lab_rules_accept_the_labs_own_answers_and_reject_others() -> None:
    from reft_studio.lab import sets

    for task in sets.TASKS:
        rows = sets.benchmark(task, rows=5)
        rule = benchmark_named(f"lab_{task}")
        assert all(rule.grade(one, one["response"]) for one in rows)
        assert not any(rule.grade(one, "I would rather talk about the weather.") for one in rows)


@pytest.mark.parametrize("name", list(BENCHMARKS))
@pytest.mark.parametrize("answer", ["", "\x00", "\ud800 broken", "a" * 10_000, "### Response:", "-", "1e999", "∞"])
def test_every_rule_survives_any_answer(name: str, answer: str) -> None:
    from reft_studio.lab import sets

    gold = sets.benchmark(name.removeprefix("lab_"), rows=1)[0] if name.startswith("lab_") else row("positive")
    assert benchmark_named(name).name == name
    assert isinstance(benchmark_named(name).grade(gold, answer), bool)


def test_an_unknown_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match="label_match"):
        benchmark_named("nonsense")
