"""Home: three ways to begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reft_studio.studio import example
from reft_studio.studio.studio import Studio
from reft_studio.tasks import lab_data

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect


def test_three_ways_to_begin_are_offered(page: Page) -> None:
    page.goto("/")
    expect(page.locator(".rs-start h2")).to_have_text(["Try it now", "Audit a dataset", "Open the finished example"])
    expect(page.locator("#home-machine")).to_contain_text("this app has contacted no other machine")
    page.locator("#audit").click()
    expect(page.locator("#dataset-file")).to_be_visible()


def test_one_press_queues_the_whole_job(page: Page, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(studio.example, "quick_start", lambda: asked.append("demo") or "demo-1")
    page.goto("/")
    page.locator("#quick-start").click()
    expect(page.locator("#home-status")).to_contain_text("You can leave this page")
    assert asked == ["demo"]


def test_a_refusal_is_told_in_words_on_the_page(page: Page, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise RuntimeError("secret detail of a dataset")

    monkeypatch.setattr(studio.example, "quick_start", fail)
    page.goto("/")
    page.locator("#quick-start").click()
    expect(page.locator("#home-status")).to_contain_text("Something went wrong in the app (RuntimeError). Details are in the log.")
    assert "secret" not in page.content()


def test_the_content_note_is_shown_once(page: Page, studio: Studio) -> None:
    studio.settings.set("note_seen", False)
    page.goto("/")
    expect(page.locator("#content-note")).to_be_visible()
    page.locator("#note-seen").click()
    expect(page.locator("#content-note")).to_be_hidden()
    page.reload()
    expect(page.locator("#quick-start")).to_be_visible()
    expect(page.locator("#content-note")).to_be_hidden()
    assert studio.settings.get("note_seen") is True


def test_the_finished_example_opens_where_it_ships(page: Page) -> None:
    page.goto("/")
    button = page.locator("#open-example")
    if not example.available():
        expect(button).to_be_disabled()
        return
    button.click()
    expect(page.locator("#home-status")).to_contain_text("The example is in the workspace")
    expect(page.locator("#home-runs tbody tr").first).to_be_visible()


def test_home_follows_what_happens_elsewhere(page: Page, studio: Studio) -> None:
    before = studio.state().dataset
    assert before is not None
    studio.choose(dataset=before.id)
    page.goto("/")
    expect(page.locator("#home-datasets tr[aria-selected=true]")).to_have_attribute("data-id", before.id)
    made = lab_data.sample(studio.workspace, task="topic", rows=20, seed=8)
    studio.choose(dataset=made.id)
    page.evaluate("window.rs.emit('rs:refresh')")
    expect(page.locator("#home-datasets tr[aria-selected=true]")).to_have_attribute("data-id", made.id)
    studio.datasets.delete(made.id)
    studio.choose(dataset=before.id)


def test_once_models_can_be_compared_home_leads_there(page: Page, studio: Studio) -> None:
    page.goto("/")
    graded = sum(run.hs is not None for run in studio.runs.finished())
    links = page.locator("#go-on a")
    if graded > 1:
        expect(links.first).to_have_attribute("href", "/compare")
    else:
        expect(links).to_have_count(0)
