from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reft_studio.comparison.charts.style import _MARKS, LIGHT
from reft_studio.evaluation.suite import lab_suite
from reft_studio.studio import Studio
from reft_studio.workspace import Workspace
from tests.ui.finished_runs import SIZES, answer_like, finished_project, write_run
from ui.components import compare_view as views
from ui.components.marks import BLUE, GREEN, GREY, INK, MARKS, VERMILION

if TYPE_CHECKING:
    from playwright.sync_api import Page

THEMED = {GREY: "#999999", GREEN: "#009E73", VERMILION: "#D55E00", BLUE: "#0072B2", INK: "ink"}
"""Marks that follow the theme by a CSS variable; theme.css gives these colours in light."""


@pytest.fixture(scope="module")
def studio_with_runs(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """Base, plain finetuning and Ref-Teacher on one suite, evaluated; nobody works off the queue."""
    opened = Studio(Workspace.open(tmp_path_factory.mktemp("compare") / "workspace"))
    finished_project(opened.workspace)
    return opened


@pytest.fixture(scope="module")
def ids(studio_with_runs: Studio) -> dict[str, str]:
    return {row.method: row.run_id for row in studio_with_runs.comparison().rows}


def test_marks_are_those_of_the_charts() -> None:
    ours = {name: (THEMED.get(mark.colour, mark.colour), mark.shape) for name, mark in MARKS.items()}
    assert ours == {name: (mark.colour, mark.symbol) for name, mark in _MARKS.items()}
    assert LIGHT.colour("#0072B2") == "#0072B2"


def test_an_empty_project_says_what_to_do(tmp_path: Path) -> None:
    table = views.table_value(Studio(Workspace.open(tmp_path)), [])
    assert (table["rows"], table["chosen"]) == ([], [])
    assert table["empty"]["href"] == "/train"


def test_the_table_shows_estimates_with_interval_and_n(studio_with_runs: Studio, ids: dict[str, str]) -> None:
    table = views.table_value(studio_with_runs, [])
    rows = {row["id"]: row for row in table["rows"]}
    assert set(table["chosen"]) == set(ids.values())
    assert rows[ids["sft"]]["hs"]["n"] == SIZES["harmful"]
    assert rows[ids["sft"]]["hs"]["low"] < rows[ids["sft"]]["hs"]["value"] < rows[ids["sft"]]["hs"]["high"]
    assert table["caption"].startswith("Prompts: lab sentiment (test), n = 30 harmful, 30 harmless, 20 task.")


def test_a_run_on_other_prompts_cannot_be_chosen_and_says_why(studio_with_runs: Studio, ids: dict[str, str]) -> None:
    other = write_run(studio_with_runs.workspace, "sft", seed=9)
    answer_like(studio_with_runs.workspace, other, "sft", suite=lab_suite("topic", sizes=SIZES))  # type: ignore[arg-type]
    try:
        rows = {row["id"]: row for row in views.table_value(studio_with_runs, [ids["sft"]])["rows"]}
        assert rows[ids["sft"]]["off"] == ""
        assert "asked other prompts" in rows[other]["off"]
        assert other not in views.table_value(studio_with_runs, [ids["sft"]])["chosen"]
        assert views.table_value(studio_with_runs, [other])["chosen"] == [other]
    finally:
        shutil.rmtree(studio_with_runs.workspace.folder("evaluations", other))


def test_the_page_opens_with_the_newest_share_of_poison(studio_with_runs: Studio) -> None:
    rows = studio_with_runs.comparison().rows
    old = [replace(row, run_id=f"{row.run_id}-old", created="2020-01-01T00:00:00+00:00", poison_ratio=0.5) for row in rows if row.seed == 0]
    chosen = views.first_choice([*rows, *old], [])
    assert sorted(chosen) == sorted(row.run_id for row in rows)
    assert views.first_choice([*rows, *old], [old[0].run_id]) == ["base--lab", old[0].run_id]


def test_one_seed_is_said_above_the_charts(studio_with_runs: Studio, ids: dict[str, str]) -> None:
    view = views.comparison(studio_with_runs, list(ids.values()), dark=False)
    assert any(note["text"].startswith("One seed") and note["kind"] == "warn" for note in view.notes)
    assert [chart["visible"] for chart in view.charts] == [True, True, False, True]  # one share of poison: no sweep


def test_a_sweep_is_drawn_over_all_shares_of_the_chosen_methods(studio_with_runs: Studio) -> None:
    rows = studio_with_runs.comparison().rows
    more = [replace(row, run_id=f"{row.run_id}-more", poison_ratio=0.5) for row in rows if not row.is_reference]
    plain = [row for row in rows if row.method == "sft"]
    assert views.swept(rows, plain) == []
    assert {row.poison_ratio for row in views.swept([*rows, *more], plain)} == {0.1, 0.5}
    assert {row.method for row in views.swept([*rows, *more], plain)} == {"sft"}


def test_nothing_chosen_asks_for_a_choice(studio_with_runs: Studio) -> None:
    view = views.comparison(studio_with_runs, [], dark=True)
    assert (view.chosen, view.notes[0]["kind"]) == ([], "note")


def test_differences_are_given_in_words_that_the_test_supports(studio_with_runs: Studio, ids: dict[str, str]) -> None:
    value = views.paired_value(studio_with_runs, list(ids.values()), ids["sft"])
    lines = {line["title"]: line["cells"] for line in value["rows"]}
    assert value["base"] == "Plain SFT, seed 0"
    assert lines["Ref-Teacher, seed 0"]["hs"]["verdict"] == "better"
    assert lines["Ref-Teacher, seed 0"]["hs"]["difference"].startswith("-")
    assert lines["Base model"]["over_refusal"]["verdict"] == "no clear difference"
    assert lines["Base model"]["hs"]["n"] == "30"


def test_one_run_alone_has_no_difference(studio_with_runs: Studio, ids: dict[str, str]) -> None:
    assert views.paired_value(studio_with_runs, [ids["sft"]], ids["sft"])["rows"] == []


def test_flips_add_up_and_bring_both_answers(studio_with_runs: Studio, ids: dict[str, str]) -> None:
    value = views.flips_value(studio_with_runs, ids["sft"], ids["ref_teacher"], "harmful")
    assert sum(value["cells"].values()) == SIZES["harmful"]
    assert len(value["rows"]) == value["cells"]["only_a"] + value["cells"]["only_b"]
    row = next(row for row in value["rows"] if row["cell"] == "only_a")
    assert row["a"]["verdict"] == "Complied"
    assert row["b"]["text"].startswith("I am sorry")
    assert value["hide"]
    assert not views.flips_value(studio_with_runs, ids["sft"], ids["ref_teacher"], "harmless")["hide"]


@pytest.mark.parametrize(("first", "second"), [(None, "sft"), ("sft", "sft")])
def test_flips_need_two_different_runs(studio_with_runs: Studio, ids: dict[str, str], first: str | None, second: str) -> None:
    assert "two different runs" in views.flips_value(studio_with_runs, ids.get(first or ""), ids[second], "harmful")["empty"]


# --- in a browser ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(studio: Studio) -> Iterator[dict[str, str]]:
    """The finished project in the workspace of the app, on a suite of its own."""
    found = {method: write_run(studio.workspace, method, seed=77) for method in ("sft", "ref_teacher")}
    for method, run in found.items():
        answer_like(studio.workspace, run, method)
    yield found
    for run in found.values():
        shutil.rmtree(studio.workspace.folder("runs", run))
        shutil.rmtree(studio.workspace.folder("evaluations", run))


@pytest.mark.browser
def test_a_link_opens_the_asked_runs_with_charts_differences_and_masked_flips(page: Page, project: dict[str, str]) -> None:
    page.goto(f"/compare?runs={project['sft']},{project['ref_teacher']}")
    page.locator("#compare-trade-off .js-plotly-plot").wait_for()
    page.locator("#compare-paired").get_by_text("better", exact=True).first.wait_for()
    row = page.locator("#flips .fl-row").first
    row.wait_for()
    assert "masked" in row.locator(".fl-prompt").inner_text()
    row.get_by_role("button", name="Reveal").click()
    assert "masked" not in page.locator("#flips .fl-row .fl-prompt").first.inner_text()
    assert page.locator("#compare-notes").get_by_text("One seed").count() == 1


@pytest.mark.browser
def test_choosing_fewer_runs_changes_the_address_and_the_page(page: Page, project: dict[str, str]) -> None:
    page.goto(f"/compare?runs={project['sft']},{project['ref_teacher']}")
    box = page.locator(f"#compare-runs tr[data-run={project['sft']}] input")
    box.uncheck()
    page.locator("#compare-paired").get_by_text("Choose at least two runs").wait_for()
    assert project["sft"] not in page.url
    assert project["ref_teacher"] in page.url
