from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reft_studio.errors import StoreError
from reft_studio.report import SECTIONS, ReportInput, build_report
from reft_studio.studio.studio import Studio
from reft_studio.tasks import lab_data
from reft_studio.workspace import Workspace
from tests.ui.finished_runs import finished_project
from ui.report import view as views

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """Evaluated runs, and one report of them."""
    opened = Studio(Workspace.open(tmp_path_factory.mktemp("report") / "workspace"))
    finished_project(opened.workspace)
    build_report(opened.workspace, ReportInput(reviewer="Ana\u202e"), opened.workspace.folder("reports"))
    return opened


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder that may be served."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    return tmp_path / "served"


def test_sections_are_those_of_the_report() -> None:
    assert tuple(value for _, value in views.SECTIONS) == SECTIONS
    assert set(views.WORDS) == set(SECTIONS)


def test_the_checklist_names_what_is_missing_and_where_to_get_it(tmp_path: Path) -> None:
    empty = views.checklist(Studio(Workspace.open(tmp_path)))
    assert [(item["ok"], item["href"]) for item in empty] == [(False, "/data"), (False, "/filter"), (False, "/train")]
    assert all(item["action"] for item in empty)


def test_what_is_there_is_ticked_and_needs_no_action(project: Studio) -> None:
    runs = views.checklist(project)[-1]
    assert (runs["ok"], runs["text"], runs["action"]) == (True, "2 evaluated runs to compare", "")


def test_a_report_is_read_in_short_from_its_twin(project: Studio, served: Path) -> None:
    (path,) = project.reports.every()
    value = views.view(path)
    assert value["report"]["title"] == "Comparison of models"
    assert value["report"]["redacted"]
    assert value["report"]["when"].endswith("by Ana⟨U+202E⟩")
    assert value["report"]["findings"] == json.loads(path.with_suffix(".json").read_text("utf-8"))["summary"]
    assert any(text.startswith("Comparison:") for text in value["report"]["contents"])


def test_only_a_copy_in_the_temporary_folder_is_offered(project: Studio, served: Path) -> None:
    (path,) = project.reports.every()
    copy = Path(views.view(path)["url"].removeprefix("/gradio_api/file="))
    assert copy.is_relative_to(served)
    assert copy.read_bytes() == path.read_bytes()


def test_no_report_yet_says_what_to_press() -> None:
    assert views.view(None) == {"report": None, "url": "", "open": False, "empty": views.EMPTY}


def test_the_list_skips_what_the_app_did_not_write(project: Studio) -> None:
    stray = project.workspace.folder("reports") / "by-hand.html"
    stray.write_text("hello", "utf-8")
    try:
        (line,) = views.lines(project.reports.every())
    finally:
        stray.unlink()
    assert (line["state"], line["texts"]) == (("Final", "done"), "left out")


def test_a_report_that_is_gone_is_said_and_no_path_is_followed(project: Studio) -> None:
    for name in ("gone.html", "../studio.sqlite"):
        with pytest.raises(StoreError, match="Build it again"):
            views.named(project, name)


# --- in a browser ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def reporting(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """The app with something to report, whatever the example holds."""
    data = lab_data.sample(studio.workspace, rows=60)

    def report(*, dataset_id: str | None = None, redact: bool = True, sections: Sequence[str] = SECTIONS) -> Path:
        given = ReportInput(dataset=data.id, redact=redact, sections=sections)  # type: ignore[arg-type]
        return build_report(studio.workspace, given, studio.workspace.folder("reports"))

    before = set(studio.reports.every())
    monkeypatch.setattr(studio.reports, "build", report)
    yield studio
    for path in set(studio.reports.every()) - before:
        path.unlink()
        path.with_suffix(".json").unlink()
    shutil.rmtree(data.folder)


@pytest.mark.browser
def test_a_report_is_built_shown_opened_and_saved(page: Page, reporting: Studio) -> None:
    page.goto("/report")
    page.locator("#report-checklist li").first.wait_for()
    page.get_by_role("button", name="Build the report").click()
    view = page.locator("#report-view")
    view.get_by_text("Audit of lab sentiment").wait_for()
    view.get_by_text("without row texts").wait_for()
    with page.expect_popup() as opened:
        view.get_by_role("link", name="Open").click()
    report = opened.value
    report.get_by_role("heading", level=1).first.wait_for()
    assert "lab sentiment" in report.content()
    report.close()
    page.locator("#report-list").get_by_role("button", name="Save as file").first.click()
    with page.expect_download() as saved:
        page.locator("#report-save").click()
    assert saved.value.suggested_filename.endswith(".html")
