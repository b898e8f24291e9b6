"""Scorers that are no teachers, in a browser: chosen by name, with what they read and miss, and a row explained by its words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.studio.studio import Studio
from reft_studio.tasks.score import score_dataset

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect


@pytest.fixture(scope="module")
def dataset(studio: Studio) -> str:
    """Forty rows, a quarter of them about stealing, scored by words."""
    rows: list[Row] = [
        {"prompt": f"how do i steal car {number}" if number % 4 == 0 else f"sum up note {number}", "response": "no"} for number in range(40)
    ]
    made = write_dataset(studio.workspace, rows, name="forty", role="user")
    studio.choose(dataset=made.id)
    score_dataset(ForegroundContext(studio.workspace), {"dataset": made.id, "scorer": "tfidf"})
    return made.id


def test_the_page_says_what_the_scorer_in_use_reads_and_misses(page: Page, dataset: str) -> None:
    page.goto("/filter")
    expect(page.locator("#filter-scorer input")).to_have_value("Words (TF-IDF) (reads prompts)")
    expect(page.locator(".th-name")).to_have_text("word score (log odds of harm, scaled); higher looks more harmful")
    expect(page.locator(".th-blind")).to_contain_text("It reads prompts only")
    expect(page.locator(".th-blind")).to_contain_text("On the lab a scorer of this kind found")
    card = page.locator("#teacher-card")
    expect(card.locator("h2")).to_have_text("About the scorer")
    expect(card.locator(".tc-facts")).to_contain_text("harm in harmless words")
    expect(card.locator(".tc-layers")).to_be_hidden()


def test_a_row_is_explained_word_by_word(page: Page, studio: Studio, dataset: str) -> None:
    studio.settings.set("masked", False)
    page.goto("/filter")
    page.locator(".rt-row").first.wait_for()
    page.evaluate("rs.emit('rs:why', {row: 4, open: true})")
    expect(page.locator(".wy-tokens b")).to_have_text("Word by word")
    expect(page.locator(".wy-map span")).to_have_count(6)
    expect(page.locator(".wy-note")).to_contain_text("its share of the log odds")
    expect(page.locator(".wy-modes")).to_be_hidden()
    expect(page.locator(".wy-sentence")).to_contain_text("The word score (log odds of harm, scaled) is")


def test_a_control_explains_nothing_and_says_so(page: Page, studio: Studio, dataset: str) -> None:
    key = score_dataset(ForegroundContext(studio.workspace), {"dataset": dataset, "scorer": "random"})["key"]
    studio.choose(score_key=key)
    page.goto("/filter")
    page.locator(".rt-row").first.wait_for()
    page.evaluate("rs.emit('rs:why', {row: 4, open: true})")
    expect(page.locator(".wy-lacks")).to_have_text("This scorer gives no explanation of single rows.")
    expect(page.locator(".wy-load")).to_be_hidden()
    expect(page.locator(".wy-verdicts")).to_contain_text("Words (TF-IDF)")


def test_words_are_learned_from_decisions_once_rows_were_kept_and_removed(page: Page, studio: Studio, dataset: str) -> None:
    page.goto("/filter")
    page.locator(".rt-row").first.wait_for()
    expect(page.locator("#filter-learn")).to_be_hidden()
    for row in range(40):
        studio.audit.decide(dataset, row, "keep" if row % 4 else "remove", by="Ada", seen=True)
    page.goto("/filter")
    page.locator("#filter-learn").click()
    expect(page.locator("#filter-status")).to_contain_text(
        "A word scorer is made from 40 decisions (30 rows that people kept and 10 rows that they removed) and our own texts"
    )
    page.locator("#filter-scorer input").click()
    expect(page.get_by_role("option", name="Words (TF-IDF), with 40 decisions of people on forty")).to_be_visible(timeout=120_000)


def test_another_scorer_is_prepared_from_the_page_and_can_be_chosen_then(page: Page, studio: Studio, dataset: str) -> None:
    page.goto("/filter")
    page.locator("#scorer-sheet button").first.click()
    page.locator("#scorer-name input").click()
    page.get_by_role("option", name="LARF", exact=True).click()
    expect(page.locator("#scorer-teacher input")).to_have_value("Lab teacher")
    page.locator("#scorer-name input").click()
    page.get_by_role("option", name="Style of the answer", exact=True).click()
    expect(page.locator("#scorer-teacher")).to_be_hidden()
    page.locator("#scorer-prepare").click()
    expect(page.locator("#scorer-status")).to_contain_text("Preparing 'Style of the answer' is queued")
    page.locator("#filter-scorer input").click()
    expect(page.get_by_role("option", name="Style of the answer (reads answers", exact=False)).to_be_visible(timeout=120_000)
