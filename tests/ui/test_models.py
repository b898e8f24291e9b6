"""Models on the pages: the first start with and without one, adding a GGUF, choosing a base by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reft_studio.models import shelf
from reft_studio.models.adding import add, resolve_request
from reft_studio.models.catalogue import DEFAULT
from reft_studio.progress import Silent
from reft_studio.studio.studio import Studio
from tests.tiny_gguf import make_gguf

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect
WORK_MS = 300_000


@pytest.fixture(autouse=True)
def empty_shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFT_STUDIO_MODELS", str(tmp_path / "shelf"))


@pytest.fixture
def wanted(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the pages asked to add; nothing is fetched."""
    found: list[str] = []

    def added(source: str, **_: Any) -> str:
        found.append(source)
        return "add_model-1"

    monkeypatch.setattr(studio.models, "add", added)
    return found


def test_a_first_start_without_the_model_says_why_and_offers_it(page: Page, wanted: list[str]) -> None:
    shelf.decline(DEFAULT, "The package index cannot be reached.")
    page.goto("/")
    note = page.locator("#first-model")
    expect(note).to_contain_text("The language model smollm2-135m is not on this machine.")
    expect(note).to_contain_text("The package index cannot be reached. The lab works without it.")
    note.get_by_role("button", name="Add smollm2-135m").click()
    expect(page.locator("#home-status")).to_contain_text("The model is being fetched")
    expect(note).to_be_hidden()
    page.goto("/settings")
    expect(page.locator("#models-here tbody tr")).to_contain_text("not here")
    page.locator("#models-first").get_by_role("button", name="Add smollm2-135m").click()
    expect(page.locator("#models-status")).to_contain_text("'smollm2-135m' is being added")
    assert wanted == [DEFAULT, DEFAULT]


def test_a_first_start_with_the_model_has_nothing_to_say(page: Page, tiny_model: Path) -> None:
    add(resolve_request(str(tiny_model), DEFAULT), Silent())
    page.goto("/")
    expect(page.locator("#home-machine")).to_contain_text("this app has contacted no other machine")
    expect(page.locator("#first-model .rs-note")).to_be_hidden()
    page.goto("/settings")
    expect(page.locator("#models-here tbody tr")).to_contain_text("measured")
    expect(page.locator("#models-first .rs-note")).to_be_hidden()


def test_a_gguf_file_is_added_named_and_removed_on_settings(page: Page, tmp_path: Path) -> None:
    path = make_gguf(tmp_path / "Tiny-Q8_0.gguf", quantisation="Q8_0").path
    page.goto("/settings")
    expect(page.locator("#models-here tbody tr")).to_have_count(1)
    page.locator("#models-source").locator("input, textarea").fill(str(path))
    page.locator("#models-name").locator("input, textarea").fill("tiny")
    page.locator("#models-add").click()
    expect(page.locator("#models-status")).to_contain_text("'tiny' is being added")
    row = page.locator("#models-here tbody tr[data-id=tiny]")
    expect(row).to_contain_text("here", timeout=WORK_MS)
    expect(row).to_contain_text("instruct")
    page.goto("/filter")
    page.locator("#teacher-sheet button").first.click()
    page.locator("#quick-model input").click()
    expect(page.get_by_role("option", name="tiny", exact=True)).to_be_visible()
    page.goto("/settings")
    row.get_by_role("button", name="Remove").click()
    expect(row).to_contain_text("Take it off this machine?")
    row.get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)
    assert shelf.names() == []


def test_what_cannot_be_added_is_said_at_once(page: Page, tmp_path: Path) -> None:
    half = tmp_path / "half.gguf"
    half.write_bytes(make_gguf(tmp_path / "whole.gguf").path.read_bytes()[:50_000])
    page.goto("/settings")
    expect(page.locator("#models-here tbody tr")).to_have_count(1)
    field = page.locator("#models-source").locator("input, textarea")
    for text, told in ((str(half), "half.gguf is cut off or damaged"), ("nothing of mine", "is no folder or file on this machine")):
        field.fill(text)
        page.locator("#models-add").click()
        expect(page.locator("#models-status")).to_contain_text(told)


def test_a_teacher_whose_base_is_not_here_is_mended_in_one_click(
    page: Page, studio: Studio, wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = next(one for one in studio.teachers.every() if one.id == "lab")
    away = replace(lab, id="away", spec={**lab.spec, "model": DEFAULT})  # the scorer of the scores in use is gone: this one is chosen
    monkeypatch.setattr(studio.scorers, "every", lambda: [away])
    page.goto("/filter")
    note = page.locator("#filter-missing")
    expect(note).to_contain_text("The base of this teacher is not on this machine. The model 'smollm2-135m'")
    note.get_by_role("button", name="Add smollm2-135m").click()
    expect(page.locator("#filter-status")).to_contain_text("'smollm2-135m' is being added. Go on once it is done.")
    monkeypatch.setattr(studio.teachers, "every", studio.scorers.every)
    page.goto("/train")
    page.locator("#train-missing").get_by_role("button", name="Add smollm2-135m").click()
    expect(page.locator("#train-status")).to_contain_text("'smollm2-135m' is being added.")
    assert wanted == [DEFAULT, DEFAULT]
