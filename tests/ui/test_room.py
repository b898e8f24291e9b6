"""How much room the frame leaves to what people came for, in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from reft_studio.data.dataset import write_dataset
from reft_studio.scoring.scores import write_scores
from reft_studio.studio.studio import Studio
from ui.shell import PAGES

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect
READY = ".rs-nav-foot [data-slot=device]:not(:empty)"
HEADS = ["Row", "Score", "Decision", "Prompt"]
SIZES = ((1440, 900), (1024, 768), (720, 450))
"""Two screens, and what 200 % zoom leaves of the first."""

FRAME = """() => ['.rs-nav', '.rs-top', '.rs-next', '.rs-head'].map(name => document.querySelector(name)?.getBoundingClientRect())
  .filter(box => box && box.height > 0 && !(box.left <= 0 && box.width < innerWidth / 2))
  .map(box => box.height).reduce((sum, height) => sum + height, 0) / innerHeight"""
"""The share of the window's height that header, pills and next step take; a navigation at the side takes none."""
BEHIND = """() => {
  const boxes = name => [...document.querySelectorAll(name)].map(node => node.getBoundingClientRect()).filter(box => box.height > 0);
  const card = document.querySelector('.rv-card')?.getBoundingClientRect();
  return boxes('.rv-decide').flatMap(under => boxes('.cd-text').map(text => {
    const end = card ? Math.min(text.bottom, card.bottom) : text.bottom;
    return Math.min(end, under.bottom) - Math.max(text.top, under.top);
  })).filter(overlap => overlap > 1);
}"""
"""By how many pixels a text of the row on the desk lies behind the buttons that decide it."""
BUSY = """() => { const chip = document.querySelector('[data-slot=jobs]'); chip.hidden = false;
  chip.querySelector('b').textContent = 'Ref-Teacher on a dataset whose name says all that anybody did to it 42 %, 12 waiting'; }"""
OUTSIDE = """() => ['mask', 'theme', 'keys'].filter(name => {
  const box = document.querySelector(`[data-tool=${name}]`).getBoundingClientRect();
  return !(box.width > 0 && box.left >= 0 && box.right <= innerWidth && box.top >= 0 && box.bottom <= innerHeight);
})"""


def open_page(page: Page, path: str) -> None:
    page.goto(path)
    page.wait_for_selector(READY, state="attached")


@pytest.mark.parametrize("path", ["/filter", "/review", "/chat"])
def test_the_frame_takes_at_most_a_fifth_and_its_switches_stay_while_a_job_runs(page: Page, path: str) -> None:
    open_page(page, path)
    title = next(target.title for target in PAGES if target.path == path)
    expect(page).to_have_title(f"{title} · ReFT Studio")
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        share = page.evaluate(FRAME)
        assert 0 < share <= 0.2, f"{share:.1%} of {width} x {height}"
        page.evaluate(BUSY)
        assert page.evaluate(OUTSIDE) == [], f"at {width} x {height}"


def test_no_text_of_a_row_lies_behind_the_buttons_that_decide_it(page: Page) -> None:
    open_page(page, "/review")
    page.wait_for_selector(".rv-decide")
    page.wait_for_selector(".cd-text")
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate(BEHIND) == [], f"at {width} x {height}"


def test_the_same_error_comes_into_view_each_time_its_button_is_pressed(page: Page) -> None:
    page.set_viewport_size({"width": 1024, "height": 450})
    open_page(page, "/data")
    place, line = page.locator("#source-text").get_by_role("textbox"), page.locator("#data-status .rs-status")
    for _ in range(2):
        page.evaluate("scrollTo(0, 0)")
        place.fill("/nowhere/none.jsonl")
        expect(line).not_to_be_in_viewport()
        place.press("Enter")
        expect(line).to_be_in_viewport(ratio=1)
        expect(line).to_contain_text("There is no file or folder /nowhere/none.jsonl")


def test_a_column_without_a_value_takes_no_width_in_the_table_of_rows(page: Page, studio: Studio) -> None:
    before = studio.state().dataset
    rows = [{"prompt": f"prompt {n}", "response": "b"} for n in range(3)]
    made = write_dataset(studio.workspace, rows, name="of no origin", role="user")
    values = np.array([0.5, 0.1, -0.4], np.float32)
    write_scores(studio.workspace, made, values, key="k1", scorer="refusal_similarity", teacher="lab", threshold=0.0, info={})
    studio.choose(dataset=made.id)
    try:
        open_page(page, "/filter")
        row = page.locator(".rt-row", has_text="prompt 2")  # below the line: not masked
        row.wait_for()
        assert page.locator(".rt-head > [role=columnheader]:visible").all_inner_texts() == HEADS
        gap = "([left, right]) => right.getBoundingClientRect().left - left.getBoundingClientRect().right"
        parts = [row.locator(name).element_handle() for name in (".rt-decision", ".rt-prompt")]
        assert 0 < page.evaluate(gap, parts) <= 12, "no room is left between what has values"
    finally:
        studio.datasets.delete(made.id)
        studio.choose(dataset=before.id if before else None)


def test_a_preview_card_shows_the_question_and_the_answer(page: Page, upload: Path) -> None:
    page.set_viewport_size({"width": 1024, "height": 768})
    open_page(page, "/data")
    page.set_input_files("#dataset-file input[type=file]", upload)
    card = page.locator("#import-rows article").first
    expect(card.locator(".rs-turn")).to_have_count(2)
    assert card.evaluate("node => node.scrollHeight - node.clientHeight") == 0
    lasts = (
        "node => { const last = node.lastElementChild.getBoundingClientRect(); return last.bottom - node.getBoundingClientRect().bottom; }"
    )
    assert card.evaluate(lasts) <= 0
