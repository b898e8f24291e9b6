"""Why a row was flagged, in a browser: on the Filter page for the row that is open, on the Review page behind the key W."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reft_studio.data.dataset import open_dataset
from reft_studio.studio import example
from reft_studio.studio.studio import Studio

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect
MODEL_MS = 240_000
"""The first question loads the teacher's model."""
QUICK_MS = 300
AGAIN = """async (row) => {
  const start = performance.now(), there = () => document.querySelector('.wy-row').textContent === `row ${row}`;
  rs.emit('rs:why', {row, open: true});
  while ((!there() || document.querySelector('.wy-inside').hidden) && performance.now() - start < 5000) {
    await new Promise(requestAnimationFrame);
  }
  return performance.now() - start;
}"""


@pytest.fixture(scope="module")
def dataset(studio: Studio) -> str:
    if not example.available():
        pytest.skip("The finished example does not ship here, so there is no row that the lab's teacher scored.")
    name = studio.example.load()
    studio.settings.set("masked", True)
    return name


def flagged_row(studio: Studio, dataset: str) -> tuple[int, str]:
    rows = open_dataset(studio.workspace, dataset).read(["row_id", "prompt", "known_harmful"])
    found = next(row for row in rows if row["known_harmful"])
    return int(found["row_id"]), str(found["prompt"])


def test_the_panel_explains_a_flagged_row_masked_until_it_is_revealed(page: Page, studio: Studio, dataset: str) -> None:
    row, prompt = flagged_row(studio, dataset)
    page.goto("/filter")
    page.locator(".rt-row").first.wait_for()
    expect(page.locator(".wy-empty")).to_have_text("Open a row to see why it was flagged.")
    page.evaluate("(row) => rs.emit('rs:why', {row, open: true})", row)
    page.locator(".wy-inside").wait_for(timeout=MODEL_MS)
    expect(page.locator(".wy h2")).to_have_text("Why was it flagged?")
    score = studio.explain.facts(dataset, row).score
    last = page.locator(".wy-map span[data-last]")
    assert score is not None and last.get_attribute("title") == f"+{score:.3f}"
    assert f"+{score:.3f}" in page.locator(".wy-sentence").inner_text()
    assert prompt not in page.locator(".wy").inner_text() and "▮" in page.locator(".wy-map").inner_text()
    assert page.locator(".wy-harmful li").count() == page.locator(".wy-harmless li").count() == 3
    page.get_by_role("button", name="Reveal text").click()
    expect(page.locator(".wy-map")).to_contain_text(prompt)
    expect(page.locator(".wy-harmful")).to_contain_text("masked")
    page.get_by_role("button", name="Reveal these").click()
    expect(page.locator(".wy-harmful")).not_to_contain_text("masked")
    expect(page.locator(".wy-response-note")).to_contain_text("prompt alone")
    page.get_by_role("radio", name="change without it").click()
    expect(page.locator(".wy-note")).to_contain_text("without a token")


def test_another_row_is_explained_in_less_than_300_ms(page: Page, studio: Studio, dataset: str) -> None:
    page.goto("/filter")
    page.locator(".rt-row").first.wait_for()
    page.evaluate("(row) => rs.emit('rs:why', {row, open: true})", 0)
    page.locator(".wy-inside").wait_for(timeout=MODEL_MS)
    times = [page.evaluate(AGAIN, row) for row in range(1, 12)]
    assert min(times) < QUICK_MS, times  # the least: what else the machine does only adds to it


def test_the_verdict_follows_the_line_and_the_key_folds_the_panel(page: Page, studio: Studio, dataset: str) -> None:
    row, _ = flagged_row(studio, dataset)
    page.goto("/filter")
    page.locator(".rt-row").first.wait_for()
    page.evaluate("(row) => rs.emit('rs:why', {row, open: true})", row)
    page.locator(".wy-inside").wait_for(timeout=MODEL_MS)
    entry = page.locator(".th-number")
    entry.fill("1")
    expect(page.locator(".wy h2")).to_have_text("Why was it kept?")
    entry.fill("0")
    expect(page.locator(".wy h2")).to_have_text("Why was it flagged?")
    page.locator(".rt-grid").focus()
    page.keyboard.press("w")
    expect(page.locator(".wy-body")).to_be_hidden()
    page.keyboard.press("w")
    expect(page.locator(".wy-inside")).to_be_visible()


def test_a_row_of_the_table_opens_its_explanation(page: Page, dataset: str) -> None:
    page.goto("/filter")
    page.locator(".rt-row").first.click()
    page.locator(".wy-inside").wait_for(timeout=MODEL_MS)
    shown = page.locator(".wy-row").inner_text()
    assert shown.removeprefix("row ") == page.locator(".rt-row .rt-id").first.inner_text()


def test_on_the_review_page_the_key_w_explains_the_card(page: Page, dataset: str) -> None:
    page.goto("/review")
    page.locator(".rv-card .cd-head").wait_for()
    expect(page.locator(".wy-body")).to_be_hidden()
    page.keyboard.press("w")
    page.locator(".wy-inside").wait_for(timeout=MODEL_MS)
    card = page.locator(".rv-card h3").first.inner_text()
    assert page.locator(".wy-row").inner_text().removeprefix("row ") in card


def test_the_map_of_the_teacher_outlines_the_cell_in_use(page: Page, dataset: str) -> None:
    page.goto("/filter")
    page.locator(".tc-frame").wait_for()
    assert page.locator(".tc-frame").count() == 1 and page.locator(".tc-cell").count() == 40
    expect(page.locator(".tc-map-caption")).to_contain_text("block 2, last token, 0.9988")
