from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reft_studio.comparison import charts
from reft_studio.comparison.charts.style import LIGHT, mark
from reft_studio.comparison.flips import Paired
from reft_studio.defenses import DEFENSES
from reft_studio.evaluation.suite import lab_suite
from reft_studio.stats import Estimate
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from tests.ui.finished_runs import SIZES, answer_like, finished_project, write_run
from ui.compare import view as views
from ui.shared.marks import COLOURS, GREY, KINDS, mark_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

THEMED = {
    GREY: "#999999",
    COLOURS["green"]: "#009E73",
    COLOURS["vermilion"]: "#D55E00",
    COLOURS["blue"]: "#0072B2",
    COLOURS["ink"]: LIGHT.ink,
}
"""Marks that follow the theme by a CSS variable; theme.css gives these colours in light."""


@pytest.fixture(scope="module")
def studio_with_runs(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """Base, plain finetuning and Ref-Teacher on one suite, evaluated; nobody works off the queue."""
    opened = Studio(Workspace.open(tmp_path_factory.mktemp("compare") / "workspace"))
    finished_project(opened.workspace)
    return opened


@pytest.fixture(scope="module")
def ids(studio_with_runs: Studio) -> dict[str, str]:
    return {row.method: row.run_id for row in studio_with_runs.comparison.every().rows}


def test_marks_are_those_of_the_charts() -> None:
    names = [*KINDS, *DEFENSES]
    ours = {name: (THEMED.get(mark_of(name).colour, mark_of(name).colour), mark_of(name).shape) for name in names}
    assert ours == {name: (mark(name, dark=False).colour, mark(name, dark=False).symbol) for name in names}
    assert len(set(ours.values())) == len(names), "no two models look the same"
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


def test_the_page_opens_on_the_runs_that_tell_the_story_and_says_which(studio_with_runs: Studio, ids: dict[str, str]) -> None:
    first = studio_with_runs.comparison.first()
    assert (set(first.runs), first.remembered) == (set(ids.values()), False)
    assert first.usual.said.startswith("Shown: base model, and plain SFT and Ref-Teacher on '")
    story = views.comparison(studio_with_runs, first.runs, dark=False).story
    assert (story["said"], story["own"]) == (first.usual.said, False)


def test_the_headline_is_that_of_the_report(studio_with_runs: Studio, ids: dict[str, str]) -> None:
    (line,) = views.comparison(studio_with_runs, list(ids.values()), dark=False).story["headline"]
    path = studio_with_runs.reports.build()
    assert line in json.loads(path.with_suffix(".json").read_text("utf-8"))["summary"]
    assert line.startswith("Ref-Teacher against Plain SFT: HS ") and "; FA " in line


def test_a_choice_is_remembered_for_the_dataset_until_it_is_taken_back(studio_with_runs: Studio, ids: dict[str, str]) -> None:
    kept = [ids["sft"], ids["base"]]
    studio_with_runs.comparison.remember(studio_with_runs.comparison.dataset(), kept)
    try:
        assert set(views.table_value(studio_with_runs, [])["chosen"]) == set(kept)
        assert studio_with_runs.comparison.first().remembered
        story = views.comparison(studio_with_runs, kept, dark=False).story
        assert story["own"] and story["said"] == "Your choice: 2 models of 3 that can be compared."
        assert set(views.table_value(studio_with_runs, [ids["sft"], ids["ref_teacher"]])["chosen"]) == {ids["sft"], ids["ref_teacher"]}
        studio_with_runs.comparison.remember(studio_with_runs.comparison.dataset(), ["r000000000000"])
        assert set(views.table_value(studio_with_runs, [])["chosen"]) == set(ids.values()), "runs that are gone are no choice"
    finally:
        studio_with_runs.comparison.remember(studio_with_runs.comparison.dataset(), [])
    assert not studio_with_runs.comparison.first().remembered


def test_judge_seeds_and_work_are_said(studio_with_runs: Studio, ids: dict[str, str]) -> None:
    view = views.comparison(studio_with_runs, list(ids.values()), dark=False)
    facts = dict(view.facts)
    assert "lab_compliance 1" in facts["Judge"] and facts["Seeds"] == "1 seed each"
    assert facts["Prompts"] == "lab sentiment (test): 30 harmful, 30 harmless, 20 task"
    assert facts["Work"].startswith("40 steps of ") and facts["Work"].endswith("trained on 52 to 60 rows")
    (note,) = view.notes
    assert note["kind"] == "warn" and note["text"].startswith("One seed")
    assert "Unequal work: passes over the user data" in note["text"]


def test_every_chart_has_all_chosen_models_and_its_numbers(studio_with_runs: Studio, ids: dict[str, str]) -> None:
    view = views.comparison(studio_with_runs, list(ids.values()), dark=False)
    cards, plots, files = view.charts[0::3], view.charts[1::3], view.charts[2::3]
    assert [card["visible"] for card in cards] == [True, True, False, True, False], "one share of poison: no sweep; no ledgers: no costs"
    for plot, file in zip(plots, files, strict=True):
        if file is not None:
            text = json.dumps(json.loads(plot["value"].to_json()))
            assert all(run in file["csv"] for run in ids.values())
            assert all(name in text for name in ("Base model", "Plain SFT", "Ref-Teacher"))


def test_nine_models_have_a_panel_each_in_the_chart_of_categories(studio_with_runs: Studio) -> None:
    rows = [row for row in studio_with_runs.comparison.every().rows if row.by_category]
    nine = [replace(row, run_id=f"{row.run_id}{at}", title=f"{row.title} {at}") for at in range(3) for row in rows]
    figure = charts.category_dots(nine)
    assert {trace.name for trace in figure.data} == {row.title for row in nine}
    assert len({trace.xaxis for trace in figure.data}) == len(nine) == 9


def test_a_right_answer_never_has_the_colour_of_harm(studio_with_runs: Studio) -> None:
    figure = charts.verdict_bars(studio_with_runs.comparison.every().rows)
    colours = {(trace.xaxis, trace.hovertemplate.split("</b> ")[1].split("<")[0]): trace.marker.color for trace in figure.data}
    refuses, answers = charts.verdicts.NAMES["refuse"], charts.verdicts.NAMES["comply"]
    assert colours["x", refuses] == colours["x2", answers] == "#0072B2"
    assert colours["x", answers] == colours["x2", refuses] == "#D55E00"
    assert len({(trace.marker.color, trace.marker.pattern.shape) for trace in figure.data}) == 3


def test_a_sweep_is_drawn_over_all_shares_of_the_chosen_methods(studio_with_runs: Studio) -> None:
    rows = studio_with_runs.comparison.every().rows
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
    lines = {line["title"].partition(",")[0]: line["cells"] for line in value["rows"]}
    assert value["base"].startswith("Plain SFT")
    assert lines["Ref-Teacher"]["hs"]["verdict"] == "better"
    assert lines["Ref-Teacher"]["hs"]["difference"].startswith("-")
    assert lines["Base model"]["over_refusal"]["verdict"] == "no clear difference"
    assert lines["Base model"]["hs"]["n"] == "30"


def test_no_clear_difference_beside_an_interval_without_zero_says_why() -> None:
    off = Estimate(-4.3, -8.8, -0.1, 300, 0, "Tango", "points")
    cell = views.paired_cell(Paired("a", "b", "fa", off, 20, 7, 0.066, 0.66, comparisons=15))
    assert (cell["verdict"], cell["why"]) == ("no clear difference", "after correction for 15 comparisons")
    plain = views.paired_cell(Paired("a", "b", "fa", replace(off, high=0.6), 20, 7, 0.2, 0.66, comparisons=15))
    assert (plain["verdict"], plain["why"]) == ("no clear difference", "")


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


@pytest.mark.browser
def test_the_page_opens_on_the_story_of_the_dataset_with_chart_and_files(page: Page, studio: Studio, project: dict[str, str]) -> None:
    before = studio.settings.get("dataset")
    studio.choose(dataset=next(run.dataset for run in studio.runs.finished() if run.run_id == project["sft"]))
    try:
        page.goto("/compare")
        page.locator("#compare-trade-off .js-plotly-plot").wait_for()
        ticked = page.locator("#compare-runs input:checked")
        named = {run.run_id: run.title for run in studio.runs.finished()}
        labels = {box.get_attribute("aria-label") for box in ticked.all()}
        assert labels >= {f"Compare {named[project[method]]}" for method in ("sft", "ref_teacher")}
        lines = page.locator("#compare-story .cs-lines p")
        assert lines.first.inner_text().startswith(f"{named[project['ref_teacher']]} against {named[project['sft']]}: HS")
        assert page.locator("#compare-story").get_by_text("share of harmful prompts that the model complies with").count() == 1
        top, runs = page.locator("#compare-trade-off").bounding_box(), page.locator("#compare-runs").bounding_box()
        assert top and runs and top["y"] < 600 and top["y"] < runs["y"], "the chart comes first"
        for ending in ("csv", "png", "svg"):
            with page.expect_download() as saved:
                page.locator(f"#compare-trade-off-files [data-file={ending}]").click()
            assert saved.value.suggested_filename == f"safety-against-usefulness.{ending}"
            content = Path(saved.value.path()).read_bytes()
            assert content.startswith({"csv": b"\xef\xbb\xbfwhat,", "png": b"\x89PNG", "svg": b"<svg"}[ending])
        page.locator(f"#compare-runs tr[data-run={project['sft']}] input").uncheck()
        page.locator("#compare-story").get_by_text("Your choice").wait_for()
        page.goto("/compare")
        page.locator("#compare-story").get_by_text("Your choice").wait_for()
        assert not page.locator(f"#compare-runs tr[data-run={project['sft']}] input").is_checked(), "the choice is remembered"
        page.get_by_role("button", name="Show the usual ones").click()
        page.locator("#compare-story").get_by_text("Shown: ").wait_for()
        assert page.locator(f"#compare-runs tr[data-run={project['sft']}] input").is_checked()
    finally:
        studio.settings.set("dataset", before)
