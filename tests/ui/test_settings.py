"""Settings: the reviewer's name, masking, checks, and the proof that nothing leaves the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reft_studio.studio.studio import Studio

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect


def open_settings(page: Page) -> None:
    """Wait for what is loaded last, since it also sets the switches."""
    page.goto("/settings")
    expect(page.locator("#workspace-sizes")).to_contain_text("datasets")


def test_the_reviewers_name_is_kept_and_an_empty_one_is_refused(page: Page, studio: Studio) -> None:
    open_settings(page)
    name = page.locator("#reviewer-name input, #reviewer-name textarea").first
    name.fill("  Ada   Lovelace ")
    page.locator("#reviewer-save").click()
    expect(page.locator("#settings-status")).to_contain_text("New decisions carry this name")
    expect(page.locator("[data-slot=reviewer]")).to_have_text("Reviewer: Ada Lovelace")
    assert studio.state().reviewer == "Ada Lovelace"
    name.fill("   ")
    page.locator("#reviewer-save").click()
    expect(page.locator("#settings-status")).to_contain_text("The name has 0 characters. Give it 1 to 60.")
    assert studio.state().reviewer == "Ada Lovelace"


def test_shortcuts_can_be_switched_off(page: Page, studio: Studio) -> None:
    open_settings(page)
    box = page.locator("#setting-keys input")
    box.uncheck()
    page.wait_for_function("window.rs.state && window.rs.state.keys === false")
    page.locator("h1").click()
    page.keyboard.press("?")
    assert page.locator("dialog[open]").count() == 0
    box.check()
    page.wait_for_function("window.rs.state.keys === true")
    assert studio.settings.get("keys") is True


def test_the_offline_self_test_finds_no_request_and_no_way_out(page: Page) -> None:
    page.goto("/settings")
    page.locator("#offline-test button").click()
    rows = page.locator("#offline-test tbody tr")
    expect(rows).to_have_count(5)
    expect(page.locator("#offline-test .rs-badge[data-kind=keep]")).to_have_count(5)
    expect(rows.last).to_contain_text("refused by the page’s policy")


def test_the_record_of_decisions_can_be_verified(page: Page) -> None:
    open_settings(page)
    page.locator("#verify").click()
    expect(page.locator("#verify-status")).to_contain_text("The record is whole")
