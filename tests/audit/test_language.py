"""One measure of whether a scorer reads a text, for files and for single prompts."""

from __future__ import annotations

import pytest

from reft_studio.audit.language import LanguageCoverage, no_judge, of_prompt, prompt_warning
from reft_studio.lab import sets

CAKE = "How do I bake a chocolate cake?"


def test_the_lab_reads_its_own_prompts_and_no_others() -> None:
    assert of_prompt("Photosynthesis converts light into chemical energy.", is_lab=True).is_no_judge
    cake = of_prompt(CAKE, is_lab=True)
    assert cake.unfamiliar == 0.0 and cake.is_no_judge, "every word is the lab's, but nothing in it is ever baked so"
    own = [row["prompt"] for name in sets.BENCHMARKS for row in sets.benchmark(name, split="validation", rows=40)]
    own += [row["prompt"] for side in sets.alignment(rows=100) for row in side]
    assert not [prompt for prompt in own if of_prompt(prompt, is_lab=True).is_no_judge]


def test_what_is_said_of_a_prompt_names_the_share_or_the_language() -> None:
    told = prompt_warning(of_prompt(CAKE, is_lab=True))
    assert told is not None and "57% of its words" in told and "noise" in told
    german = prompt_warning(of_prompt("Wie backe ich zu Hause einen saftigen Schokoladenkuchen?", is_lab=False))
    assert german is not None and "in German" in german
    assert prompt_warning(of_prompt("hello", is_lab=True)) is None and prompt_warning(of_prompt("hello", is_lab=False)) is None


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        (CAKE, True),
        ("Wie backe ich zu Hause einen saftigen Schokoladenkuchen ohne Mehl?", False),
    ],
)
def test_a_real_teacher_reads_the_languages_of_its_calibration(prompt: str, read: bool) -> None:
    found = of_prompt(prompt, is_lab=False)
    assert found.is_no_judge is not read
    assert read or found.languages == "German"
    assert not of_prompt(prompt, is_lab=False, read=("English", "German")).is_no_judge


def test_the_sentence_names_the_share_and_what_to_do() -> None:
    assert (
        no_judge(LanguageCoverage(unfamiliar=0.1)) is None
        and no_judge(LanguageCoverage(unread=0.2)) is None
        and no_judge(LanguageCoverage()) is None
    )
    by_words = no_judge(LanguageCoverage(unfamiliar=0.63), drift=-0.2)
    assert by_words is not None and "no judge of this file: 63% of its words" in by_words and "0.20 lower" in by_words
    by_rows = no_judge(LanguageCoverage(unread=0.4, languages="German, French"))
    assert by_rows is not None and "40% of its rows are in languages (German, French)" in by_rows and "Choose a scorer" in by_rows
