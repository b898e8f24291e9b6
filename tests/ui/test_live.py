"""Scoring that fills live, in a browser: first scores by words, the teacher's as they come, stop and go on, nothing lost on the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.jobs.kinds import EXTRA_KINDS
from reft_studio.studio.studio import Studio
from reft_studio.tasks import index
from tests.ui.scored import in_work
from tests.ui.slow_scorer import KIND, allow

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect
ROWS = 400
STARTING_MS = 240_000
"""For a worker process to come up on a machine with much else to do."""


@pytest.fixture(scope="module")
def slow(studio: Studio) -> Iterator[None]:
    """Workers score as many rows as they are allowed to; the teacher for tests is there."""
    before = os.environ.get(EXTRA_KINDS)
    os.environ[EXTRA_KINDS] = KIND
    with in_work(studio, "before live scores"):
        yield
    os.environ.pop(EXTRA_KINDS)
    if before is not None:
        os.environ[EXTRA_KINDS] = before


@pytest.fixture
def imported(studio: Studio, slow: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """400 rows as after an import, every tenth about stealing; the teacher may score none yet."""
    name = request.node.name
    rows: list[Row] = [
        {"prompt": f"how do i steal a car like {name} {at}" if at % 10 == 0 else f"sum up note {at}, {name}", "response": "no"}
        for at in range(ROWS)
    ]
    before, made = studio.settings.get("dataset"), write_dataset(studio.workspace, rows, name=name, role="user")
    allow(studio.workspace, 0)
    index.first_scores(ForegroundContext(studio.workspace), made)
    studio.choose(dataset=made.id)
    yield made.id
    allow(studio.workspace, ROWS)
    for job in studio.jobs.list(0):
        studio.jobs.cancel(job.id)
    studio.settings.set("dataset", before)


def text(page: Page) -> Any:
    return page.locator("#live-scores .lv-text")


def start(page: Page, studio: Studio, rows: int) -> None:
    """Score with the teacher for tests, as far as `rows`."""
    page.goto("/filter")
    page.locator(".rt-row").first.wait_for()
    page.locator("#filter-scorer input").click()
    page.get_by_role("option", name="Teacher for tests").click()
    allow(studio.workspace, rows)
    page.locator("#filter-score").click()
    expect(text(page)).to_contain_text(f"{rows} of 400 rows scored", timeout=STARTING_MS)


def test_a_new_file_opens_with_scores_by_words_and_offers_the_teacher(page: Page, studio: Studio, imported: str) -> None:
    page.goto("/filter")
    expect(text(page)).to_have_text("First scores, by words.")
    expect(page.locator("#live-scores .lv-detail")).to_contain_text("They miss: meaning that is not in the words")
    expect(page.locator("#live-scores .lv-act")).to_contain_text("Score with")
    page.get_by_role("tab", name="Flagged").click()
    expect(page.locator(".rt-row").first).to_be_visible()
    score = studio.state().score
    assert score is not None and score.finished and score.scorer == "tfidf" and score.scores()[0] > score.scores()[1]


def test_the_page_fills_while_the_teacher_scores_and_keeps_line_focus_and_place(page: Page, studio: Studio, imported: str) -> None:
    start(page, studio, 60)
    expect(page.locator(".th-kept span")).to_have_text("kept of 60")
    expect(page.locator(".th-flagged b")).to_have_text("40")  # the harmful-looking ones came first
    expect(page.locator("[data-side=unreached] span")).to_have_text("340")
    expect(page.locator("[data-side=unscored]")).to_be_hidden()
    expect(page.locator("#analysis")).to_be_hidden()
    page.locator("[data-side=unreached]").click()
    first = page.locator(".rt-row").first
    expect(first.locator(".rt-score span")).to_have_text("not yet")
    expect(first.locator(".rt-decision")).to_have_text("waiting")

    page.get_by_role("tab", name="All", exact=True).click()
    page.locator(".rt-scroll").evaluate("node => { node.scrollTop = 40 * 34; }")
    expect(page.locator(".rt-foot")).to_contain_text("Rows 41 to")
    handle = page.get_by_role("slider", name="Threshold")
    handle.focus()
    page.keyboard.press("Shift+ArrowRight")
    line = page.locator(".th-number").input_value()
    allow(studio.workspace, 250)
    expect(page.locator(".th-kept span")).to_have_text("kept of 250")
    assert page.locator(".th-number").input_value() == line
    expect(handle).to_be_focused()
    expect(page.locator(".rt-foot")).to_contain_text("Rows 41 to")
    page.get_by_role("button", name="Use this threshold").click()
    expect(page.locator(".th-use")).to_have_text("In use")

    allow(studio.workspace, ROWS)
    expect(page.locator(".th-kept span")).to_have_text("kept of 400")
    expect(page.locator("#live-scores .lv")).to_be_hidden()
    expect(page.locator("#panel-estimate")).to_be_visible()
    assert page.locator(".th-number").input_value() == line
    state = studio.state()
    assert state.score is not None and state.score.finished and state.threshold == pytest.approx(float(line))


def test_stopped_scoring_keeps_what_it_has_and_goes_on(page: Page, studio: Studio, imported: str) -> None:
    start(page, studio, 100)
    button = page.locator("#live-scores .lv-act")
    expect(button).to_have_text("Stop")
    button.click()
    expect(text(page)).to_have_text("Stopped at 100 of 400 rows scored.")
    expect(page.locator(".th-kept span")).to_have_text("kept of 100")
    expect(button).to_have_text("Go on")
    allow(studio.workspace, 150)
    button.click()
    expect(text(page)).to_contain_text("150 of 400 rows scored", timeout=STARTING_MS)
    allow(studio.workspace, ROWS)
    expect(page.locator(".th-kept span")).to_have_text("kept of 400")
