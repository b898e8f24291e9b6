"""Two tabs on one workspace agree, an act is done to what its page shows, and no page says anything false while it loads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from reft_studio.studio.studio import Studio
from tests.ui.scored import Scored, scored
from ui.shell import PAGES

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Route

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect
READY = ".rs-nav-foot [data-slot=device]:not(:empty)"
FALSE = ("none yet", "No dataset", "No run yet", "No report yet", "No model yet", "no model to chat", "not been scored", "undecided")
"""What is so of an empty project only."""


@pytest.fixture
def audit(studio: Studio, request: pytest.FixtureRequest) -> Iterator[Scored]:
    before = studio.settings.get("dataset")
    yield scored(studio, request.node.name)
    studio.settings.set("dataset", before)


@pytest.fixture
def other(context: BrowserContext) -> Iterator[Page]:
    """A second tab."""
    opened = context.new_page()
    yield opened
    opened.close()


def test_a_line_put_in_use_in_one_tab_is_in_use_in_the_other(page: Page, other: Page, audit: Scored, studio: Studio) -> None:
    for tab in (page, other):
        tab.goto("/filter")
        expect(tab.locator(".th-use")).to_have_text("In use")
    other.locator(".th-number").fill("0.250")
    other.locator(".th-use").click()
    expect(other.locator(".th-use")).to_have_text("In use")
    expect(page.locator("#filter-status")).to_contain_text("changed elsewhere, from 0.000 to 0.250")
    expect(page.locator(".th-use")).to_have_text("In use")
    for tab in (page, other):
        assert tab.locator(".th-number").input_value() == "0.250"
        expect(tab.locator("[data-slot=threshold] b")).to_have_text("0.250")
    page.locator(".th-number").fill("0.400")  # a line that a person holds stays where it is
    other.locator(".th-number").fill("-0.100")
    other.locator(".th-use").click()
    expect(page.locator(".th-saved")).to_contain_text("0.100")
    assert page.locator(".th-number").input_value() == "0.400" and page.locator(".th-use").is_enabled()


def test_a_page_acts_on_what_it_shows_and_freezes_by_no_line_that_nobody_saw(page: Page, audit: Scored, studio: Studio) -> None:
    page.goto("/review")
    expect(page.locator("#freeze-plan")).to_contain_text("The threshold 0.000")
    elsewhere = scored(studio, "chosen elsewhere", seed=1)
    studio.choose(dataset=audit.dataset)
    studio.choose(threshold=0.25)
    studio.choose(dataset=elsewhere.dataset)  # as another tab would
    page.get_by_role("textbox", name="Why undecided rows").fill("not for this model")
    page.locator("#freeze-button").click()
    expect(page.locator("#freeze-status")).to_contain_text("changed elsewhere, from 0.000 to 0.250")
    expect(page.locator("#freeze-plan")).to_contain_text("The threshold 0.250")
    assert [one.frozen_from for one in studio.datasets.every()].count(audit.dataset) == 0
    page.get_by_role("textbox", name="Why undecided rows").fill("not for this model")
    page.locator("#freeze-button").click()
    frozen = page.locator("#frozen")
    expect(frozen).to_contain_text("0.250")
    state = studio.state()
    assert state.frozen is not None and state.frozen.source == audit.dataset and state.frozen.claim is not None
    for told in state.frozen.draft_reasons() + state.frozen.claim.sentences():
        expect(frozen).to_contain_text(told)
    page.goto("/report")
    expect(page.locator("#report-checklist")).to_contain_text("Frozen at 0.250")
    expect(page.locator("#report-checklist")).to_contain_text(state.frozen.draft_reasons()[0])
    page.wait_for_selector(READY, state="attached")
    expect(page.locator("[data-dot=review]")).to_have_attribute("data-state", "done")
    expect(page.locator("[data-slot=threshold] b")).to_have_text("0.250, frozen")


@pytest.mark.parametrize("target", PAGES, ids=lambda target: target.name)
def test_a_page_says_nothing_false_while_it_loads(page: Page, target: object, studio: Studio) -> None:
    held: list[Route] = []
    page.route("**/gradio_api/**", lambda route: held.append(route) if route.request.method == "POST" else route.continue_())
    page.goto(target.path, wait_until="domcontentloaded")  # type: ignore[attr-defined]
    page.locator("h1").first.wait_for()
    page.locator("[data-slot=dataset]").wait_for()
    page.wait_for_function("() => window.rs.shortcuts().length > 0")  # the scripts of the frame, and so those before it, have run
    shown = page.locator("body").inner_text()
    assert held, "nothing was asked, so nothing was held back"
    assert not [words for words in FALSE if words in shown]
    page.unroute("**/gradio_api/**")  # lets go what was held
    page.wait_for_selector(READY, state="attached")
