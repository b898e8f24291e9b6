"""The frame around every page, in a real browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from reft_studio.data.dataset import write_dataset
from reft_studio.studio.studio import Studio
from ui.shell import PAGES

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect
READY = ".rs-nav-foot [data-slot=device]:not(:empty)"

CUT_OFF = """width => [...document.querySelectorAll('button, a, input, textarea, select')].filter(node => {
  const box = node.getBoundingClientRect();
  return box.width > 1 && box.right > width + 1 && !node.closest('.rs-table-wrap');
}).map(node => node.outerHTML.slice(0, 120))"""
"""Controls that reach over the right edge of the window."""


def open_page(page: Page, path: str = "/") -> None:
    page.goto(path)
    page.wait_for_selector(READY, state="attached")


@pytest.mark.parametrize("target", PAGES, ids=lambda target: target.name)
def test_every_page_opens_with_its_heading_and_its_place_in_the_order(page: Page, studio: Studio, target: object) -> None:
    open_page(page, target.path)
    assert page.locator("h1").first.inner_text() == target.title
    assert page.locator(".rs-nav-link").all_inner_texts() == [other.title for other in PAGES]
    assert page.locator(".rs-nav-link[aria-current=page]").inner_text() == target.title
    expect(page.locator("[data-slot=lab]")).to_be_visible(visible=studio.state().uses_lab)
    assert "none yet" not in page.locator("[data-slot=dataset]").inner_text()
    for width in (1024, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CUT_OFF, width) == []


def test_a_hostile_dataset_name_stays_text_on_every_page_that_shows_it(page: Page, studio: Studio) -> None:
    hostile = "<img src=x onerror=alert(1)> ${alert(2)} \u202egpj.exe"
    before = studio.state().dataset
    made = write_dataset(studio.workspace, [{"prompt": "named by somebody hostile", "response": "b"}], name=hostile, role="user")
    try:
        studio.choose(dataset=made.id)
        for path in ("/", "/data", "/filter", "/train", "/report"):
            open_page(page, path)
            shown = page.locator("[data-slot=dataset] b").inner_text()
            assert "<img src=x" in shown and "⟨U+202E⟩" in shown
            assert page.locator("img[src=x]").count() == 0
    finally:
        studio.datasets.delete(made.id)
        studio.choose(dataset=before.id if before else None)


def test_the_mask_switch_is_remembered_across_pages(page: Page, studio: Studio) -> None:
    open_page(page)
    switch = page.get_by_role("switch", name="Mask harmful text")
    expect(switch).to_have_attribute("aria-checked", "true")
    page.keyboard.press("M")
    expect(switch).to_have_attribute("aria-checked", "false")
    page.wait_for_function("window.rs.state && window.rs.state.masked === false")
    assert studio.state().masked is False
    open_page(page, "/data")
    expect(switch).to_have_attribute("aria-checked", "false")
    switch.click()
    page.wait_for_function("window.rs.state && window.rs.state.masked === true")
    assert studio.state().masked is True


def test_keys_wait_while_somebody_types(page: Page) -> None:
    open_page(page, "/settings")
    name = page.locator("#reviewer-name input, #reviewer-name textarea").first
    name.focus()
    expect(page.locator("[data-slot=paused]")).to_be_visible()
    page.keyboard.type("M?")
    expect(page.get_by_role("switch", name="Mask harmful text")).to_have_attribute("aria-checked", "true")
    assert page.locator("dialog[open]").count() == 0
    assert name.input_value().endswith("M?")


def test_the_question_mark_lists_the_keys(page: Page) -> None:
    open_page(page)
    page.keyboard.press("?")
    expect(page.locator("dialog[open] dl")).to_contain_text("Mask or show harmful text")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_the_theme_is_remembered_and_nothing_else_is_kept_in_the_browser(page: Page) -> None:
    open_page(page)
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(page.locator("body")).to_have_class(re.compile(r"\bdark\b"))
    open_page(page, "/data")
    expect(page.locator("body")).to_have_class(re.compile(r"\bdark\b"))
    kept = page.evaluate("Object.keys(localStorage).filter(key => !key.startsWith('rs-'))")
    assert kept == [], "an event's inputs or outputs may be among these"
    page.evaluate("window.rs.theme('light')")


def test_the_next_step_leads_to_the_page_where_it_is_done(page: Page, studio: Studio) -> None:
    step = studio.state().next_step
    open_page(page, "/settings")
    link = page.locator("[data-slot=next] a")
    expect(page.locator("[data-slot=next]")).to_contain_text(step.text)
    assert link.get_attribute("href") == f"/{step.page}" and link.inner_text() == step.action


def test_a_narrow_window_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 760, "height": 900})
    for path in ("/", "/data", "/settings"):
        open_page(page, path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 760, path
