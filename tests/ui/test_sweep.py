"""What a person does with the page of sweeps: choose a recipe, make it small, start it, watch it, read it, take the table away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reft_studio.studio.studio import Studio
from reft_studio.sweeps import record
from reft_studio.sweeps.recipe_text import read

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PATIENCE_MS = 400_000
"""Two small runs take some ten seconds; on a machine whose cores others have, many times that."""


def write(page: Page, text: str) -> None:
    """Replace the text of the recipe by hand."""
    page.locator("#sweep-text .cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.keyboard.insert_text(text)


def test_a_recipe_is_made_small_started_watched_read_and_exported(page: Page, studio: Studio) -> None:
    page.goto("/sweep")
    page.locator("#sweep-result").get_by_text("trains and evaluates every combination").wait_for()
    page.locator("#sweep-template input").click()
    page.get_by_role("option", name="strength of guidance on the lab").click()
    page.locator("#sweep-methods [data-method=distill_only]").wait_for()
    for method in ("Aligned weights, then SFT", "Distillation only", "Filter only"):
        page.get_by_role("button", name=f"Leave out {method}").click()
    page.locator("#sweep-methods [data-method=ref_teacher] input[type=text]").first.fill("0.3")
    for field, value in (("poison_ratios", "0.1"), ("seeds", "0"), ("rows", "40"), ("name", "by hand")):
        page.locator(f"#sweep-fields input[name={field}]").fill(value)
    text = page.locator("#sweep-text .cm-content")
    text.get_by_text("name: by hand").wait_for()
    page.locator("#sweep-plan").get_by_text("One seed").wait_for()
    kept = "\n".join(line.inner_text() for line in text.locator(".cm-line").all())
    spec = read(kept).spec()
    assert [one.title for one in spec.expanded] == ["Plain SFT", "Ref-Teacher, alpha 0.3"] and spec.note.startswith("How much the weight")

    write(page, kept + "\noptim: {stepz: 1}\n")
    page.locator("#sweep-plan [data-kind=error]").get_by_text("stepz").wait_for()
    assert page.locator("#sweep-start").is_disabled() and "stepz" in text.inner_text(), "what was typed stays"
    small = kept.replace("shipped_teacher: false", "shipped_teacher: true") + "\noptim: {steps: 1}\nprompts: 4\ntask_prompts: 4\n"
    write(page, small)
    page.locator("#sweep-start").get_by_text("Start 2 runs").wait_for()
    page.locator("#sweep-start").click()
    page.locator("#sweep-jobs .jp-card").get_by_text("Sweep: by hand, 2 of 2 runs to do").wait_for()
    rows = page.locator("#sweep-result tbody tr")
    rows.nth(1).wait_for()
    assert [row.get_attribute("data-waits") is not None for row in rows.all()] == [True, True]
    page.locator("#sweep-jobs .jp-card[data-state=done]").wait_for(timeout=PATIENCE_MS)
    page.locator("#sweep-result .sr-summary").get_by_text("2 of 2 runs done").wait_for()
    page.locator("#sweep-chart .js-plotly-plot").wait_for()
    assert "Plain SFT" in rows.first.inner_text() and "1 of 1" in rows.first.inner_text()
    link = rows.nth(1).get_by_role("link", name="Compare").get_attribute("href") or ""
    assert all(str(line["run"]) in link for line in record.lines(studio.workspace, read(small).spec()))

    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as Markdown").click()
    table = saved.value.path().read_text("utf-8")
    assert saved.value.suggested_filename == "by-hand.md" and "| Ref-Teacher, alpha 0.3 | 0.1 | 1 |" in table
    page.locator("#sweep-result .sr-words input").fill("teacher")
    page.locator("#sweep-result .sr-summary").get_by_text("1 of 2 lines shown").wait_for()
    page.reload()
    page.locator("#sweep-past").get_by_text("2 of 2").wait_for()
    page.locator("#sweep-plan").get_by_text("on record").wait_for()
    assert page.locator("#sweep-start").inner_text() == "Show its table"
