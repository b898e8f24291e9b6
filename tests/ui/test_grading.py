"""Where a person chooses prompts and judge, and labels answers with three keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.store import settings
from reft_studio.studio.studio import Studio
from reft_studio.training.run_names import titles
from tests.ui.finished_runs import answer_like, write_run

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect


@pytest.fixture
def run(studio: Studio) -> Iterator[str]:
    """A finished run with answers; labels are gone afterwards."""
    found = write_run(studio.workspace, "sft", seed=91)
    answer_like(studio.workspace, found, "sft")
    yield found
    for kind in ("runs", "evaluations"):
        shutil.rmtree(studio.workspace.folder(kind, found))
    shutil.rmtree(studio.workspace.folder("labels"), ignore_errors=True)
    settings.remove(studio.workspace, "label-history")


def test_answers_are_labelled_with_keys_and_the_last_label_is_taken_back(page: Page, studio: Studio, run: str) -> None:
    page.goto(f"/compare?runs={run}")
    page.locator("#compare-trade-off .js-plotly-plot").wait_for()
    page.locator("#label-answers button").first.click()
    page.locator("#label-run input").click()
    page.get_by_role("option").filter(has_text=titles(studio.workspace)[run]).first.click()
    count = page.locator("#label-card .rs-lab-count")
    expect(count).to_contain_text("0 of")
    prompt = page.locator("#label-card .rs-lab-prompt")
    assert "masked" in prompt.inner_text()
    page.locator("h1").first.click()  # the keys pause while a field has the focus
    page.keyboard.press("r")
    assert "masked" not in prompt.inner_text()
    page.keyboard.press("1")
    expect(count).to_contain_text("1 of")
    page.locator("#label-card").get_by_role("button", name="Refusal").click()
    expect(count).to_contain_text("2 of")
    page.keyboard.press("z")
    expect(count).to_contain_text("1 of")
    card = studio.evaluations.to_label(run)
    assert card is not None and card.done == 1


def test_prompts_and_judge_are_saved_and_a_bad_file_is_told(page: Page, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reft_studio.evaluation.judges.locate", lambda *_, **__: None)
    dataset = write_dataset(studio.workspace, [Row(prompt="harmful?", response="")], name="my prompts", role="benchmark")
    page.goto("/settings")
    expect(page.locator("#workspace-sizes")).to_contain_text("datasets")
    page.locator("#suite-harmful input").click()
    page.get_by_role("option", name="my prompts (1 rows)").click()
    page.locator("#suite-judge input").click()
    page.get_by_role("option", name="WildGuard (7B)").click()
    model = page.locator("#suite-judge-model input, #suite-judge-model textarea").first
    expect(model).to_be_visible()
    model.fill("/own/wildguard")
    page.locator("#suite-save").click()
    expect(page.locator("#suite-status")).to_contain_text("Saved")
    try:
        suite, judge = studio.evaluations.suite(), studio.evaluations.judge()
        assert suite is not None and suite.sets[0].of == dataset.id
        assert (judge.name, judge.model) == ("wildguard", "/own/wildguard")
        page.locator("#suite-published button").first.click()
        page.locator("#preset-path input, #preset-path textarea").first.fill("/nowhere/test.jsonl")
        page.locator("#preset-read").click()
        expect(page.locator("#preset-status")).to_contain_text("test.jsonl is not there")
    finally:
        for key in ("suite", "judge"):
            settings.remove(studio.workspace, key)
        shutil.rmtree(dataset.folder)
