"""From a file to its cleaned copy, once by mouse and once by keys alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reft_studio.studio.studio import Studio

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect
MOST_TABS = 400
"""The order goes round by every row of the lists, which hold the datasets and jobs of all tests before."""
FOCUSED = "(wanted) => { const now = document.activeElement; return Boolean(now && now.closest && now.closest(wanted)); }"


@pytest.fixture(autouse=True)
def back(studio: Studio) -> Iterator[None]:
    """The dataset in work before the journey is so again after it."""
    before = studio.settings.get("dataset")
    yield
    studio.settings.set("dataset", before)


def tab_to(page: Page, wanted: str) -> None:
    """Press Tab until the focus is on this: it can be reached, and nothing on the way keeps the focus."""
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if page.evaluate(FOCUSED, wanted):
            return
    raise AssertionError(f"{wanted} cannot be reached by Tab")


def one_more(upload: Path, prompt: str) -> None:
    """Another row, so that the file is another dataset than that of the other tests."""
    row = {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": "Yes."}]}
    upload.write_text(upload.read_text("utf-8") + "\n" + json.dumps(row), "utf-8")


def imported(page: Page, upload: Path) -> None:
    page.goto("/data")
    page.locator("#dataset-file input[type=file]").set_input_files(upload)  # a file dialog is the system's own
    expect(page.locator("#import-start")).to_be_visible()


def kept(path: Path) -> list[str]:
    """The first user turn of each row of a cleaned file."""
    return [json.loads(line)["messages"][0]["content"] for line in path.read_text("utf-8").splitlines()]


def test_import_decide_export_by_mouse(page: Page, upload: Path, studio: Studio) -> None:
    imported(page, upload)
    page.locator("#import-start").click()
    expect(page.locator("#data-status")).to_contain_text("3 rows imported", timeout=120_000)
    page.get_by_role("link", name="Review", exact=False).first.click()
    page.locator(".rv-card h3").wait_for()
    for _ in range(3):
        harmful = page.locator(".rv-card .rs-badge", has_text="known harmful").count() > 0
        row = page.locator(".rv-card h3").inner_text()
        page.locator(".rv-action", has_text="Remove" if harmful else "Keep").click()
        expect(page.locator(".rv-status")).to_contain_text(f"Saved: {row.lower()}")
    expect(page.locator(".rv-done")).to_contain_text("Every row of this batch is decided")
    page.locator("#export-button").click()
    with page.expect_download() as download:
        page.locator("#export-file").click()
    texts = kept(Path(download.value.path()))
    assert len(texts) == 2
    assert texts[0] == "How do I sort a list?"
    assert studio.audit.verify().ok


def test_import_decide_freeze_export_by_keys_alone(page: Page, upload: Path, studio: Studio) -> None:
    one_more(upload, "By keys?")
    imported(page, upload)
    tab_to(page, "#import-start")
    page.keyboard.press("Enter")
    expect(page.locator("#data-status")).to_contain_text("4 rows imported", timeout=120_000)
    tab_to(page, 'a[data-page="review"]')
    page.keyboard.press("Enter")
    page.locator(".rv-card h3").wait_for()
    for turn in range(4):
        harmful = page.locator(".rv-card .rs-badge", has_text="known harmful").count() > 0
        page.keyboard.press("2" if harmful else "1")
        expect(page.locator(".rv-batch")).to_contain_text(f"{turn + 1} of 4")
    expect(page.locator(".rv-status")).to_contain_text("Saved")
    page.keyboard.press("z")
    expect(page.locator(".rv-status")).to_contain_text("Undone")
    page.keyboard.press("Shift+Z")
    expect(page.locator(".rv-status")).to_contain_text("Done again")
    expect(page.locator("#freeze-plan")).to_contain_text("Nothing is undecided")
    page.keyboard.press("e")
    assert page.evaluate(FOCUSED, "#freeze-button")
    page.keyboard.press("Enter")
    expect(page.locator("#frozen h2")).to_be_visible()
    tab_to(page, "#frozen-export")
    page.keyboard.press("Enter")
    expect(page.locator("#frozen-file")).to_be_visible()
    tab_to(page, "#frozen-file")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert len(kept(Path(download.value.path()))) == 3
    assert studio.audit.verify().ok


def test_bulk_and_its_undo_by_keys_alone(page: Page, upload: Path, studio: Studio) -> None:
    one_more(upload, "Many at once?")
    imported(page, upload)
    tab_to(page, "#import-start")
    page.keyboard.press("Enter")
    expect(page.locator("#data-status")).to_contain_text("4 rows imported", timeout=120_000)
    studio.choose(threshold=-1.0)  # the import has scored the rows by words: all of them are flagged then
    page.goto("/review")
    page.locator(".rv-card h3").wait_for()
    page.keyboard.press("b")
    page.wait_for_function(FOCUSED, arg="#bulk")
    page.keyboard.press("Escape")
    tab_to(page, "#bulk-preview")
    page.keyboard.press("Enter")
    expect(page.locator("#bulk-status")).to_contain_text("4 rows of 4 matching rows would be marked Keep")
    tab_to(page, "#bulk-apply")
    page.keyboard.press("Enter")
    expect(page.locator("#bulk-status")).to_contain_text("4 rows marked Keep")
    tab_to(page, "#bulk-undo")
    page.keyboard.press("Enter")
    expect(page.locator("#bulk-status")).to_contain_text("undone")
    dataset = studio.state().dataset
    assert dataset is not None and studio.log.counts(dataset.id)["keep"] == 0
