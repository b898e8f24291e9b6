"""The tab Outcome of the Filter page, on runs that are there and on none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from tests.ui.finished_runs import answer_like, write_filtered
from tests.ui.scored import Scored, in_work

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def swept(studio: Studio) -> Iterator[Scored]:
    """Evaluated runs without a filter, at two lines, and by chance, on the dataset in work."""
    with in_work(studio, "outcome test") as audit:
        kinds = [(None, None, 0), (0.0, None, 40), (0.4, None, 20), (None, 40, 40), (None, 20, 20)]
        runs = [
            write_filtered(studio.workspace, audit.dataset, teacher="for-tests", threshold=line, drop=drop, removed=removed)
            for line, drop, removed in kinds
        ]
        for run, method in zip(runs, ("sft", "ref_teacher", "aligned_sft", "sft", "sft"), strict=True):
            answer_like(studio.workspace, run, method)
        yield audit
        for run in runs:
            forget(studio.workspace, run)


def forget(workspace: Workspace, run: str) -> None:
    shutil.rmtree(workspace.folder("runs", run))
    shutil.rmtree(workspace.folder("evaluations", run))


def test_the_line_is_shown_with_what_it_did_to_finetuned_models(page: Page, swept: Scored) -> None:
    page.goto("/filter?panel=outcome")
    page.locator("#outcome-chart .js-plotly-plot").wait_for()
    rows = page.locator("#outcome-view tbody tr")
    rows.first.wait_for()
    kinds = [row.locator("td").first.inner_text() for row in rows.all()]
    assert sorted(kinds) == ["As many rows, by chance"] * 2 + ["Filter"] * 2 + ["No filter"]
    assert page.locator("#outcome-chart-files [data-file=svg]").is_visible()
    legend = page.locator("#outcome-chart .legendtext").all_text_contents()
    assert set(legend) == {"Filter", "As many rows, by chance"}


def test_without_runs_the_tab_says_what_it_would_show_and_why_it_cannot_be_queued(page: Page, studio: Studio) -> None:
    with in_work(studio, "no outcome yet") as audit:
        page.goto("/filter?panel=outcome")
        page.locator("#outcome-view .oc-empty").get_by_text("exactly as many rows by chance").wait_for()
        assert studio.outcomes.found(audit.dataset, audit.key).points == []
        assert not page.locator("#outcome-chart").is_visible()
        page.locator("#outcome-view .oc-cost").get_by_text("Choose them on the Settings page").wait_for()
        assert page.locator("#outcome-queue").is_disabled(), "a base without prompts has nothing to be evaluated on, which is said"
