"""The table of all runs: searched, named, tagged, compared setting by setting, gone on with and deleted."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from reft_studio.chat.loaded import tell
from reft_studio.errors import SpecError
from reft_studio.jobs.run_jobs import became
from reft_studio.store import jobs as table
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from tests.ui.finished_runs import answer_like, finished_project, log_line, write_attempt, write_run
from ui.compare import view
from ui.shared.run_history import MOST_COMPARED, history_value, said_of, settings_value
from ui.shared.run_rows import HEIGHT, WIDTH, curve
from ui.train.watch import live_page

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

expect = pytest.importorskip("playwright.sync_api").expect


@pytest.fixture
def quiet(workspace: Workspace) -> Studio:
    """A studio whose queue nobody works off."""
    return Studio(workspace)


def row(studio: Studio, run: str) -> dict[str, Any]:
    return next(one for one in history_value(studio)["rows"] if one["id"] == run)


# --- lines -------------------------------------------------------------------------------------------------------------------------


def test_a_curve_is_a_line_inside_its_picture_that_ends_where_the_run_is() -> None:
    found = curve(((1, 2.0), (20, 1.0), (40, 0.5)), 160)
    assert found is not None and found["words"] == "Task loss 2.000 at first, 0.500 after 40 steps"
    places = [tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", found["path"])]
    assert re.fullmatch(r"M[\d. L]+", found["path"]) and len(places) == 3
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert places[-1][0] < WIDTH / 3 and places[0][1] < places[-1][1]
    assert curve((), 160) is None
    assert curve(((1, 0.4),), None)["path"].endswith("h.1")  # type: ignore[index]


def test_a_line_tells_numbers_with_n_cost_and_where_to_go_on(quiet: Studio) -> None:
    run = write_run(quiet.workspace, "sft")
    assert row(quiet, run)["links"] == [["Chat", f"/chat?models=base--lab,{run}"], ["Duplicate with a change", f"/train?like={run}"]]
    assert row(quiet, run)["hs"] is None and row(quiet, run)["took"] == "12 s"
    answer_like(quiet.workspace, run, "sft")
    found = row(quiet, run)
    assert [text for text, _ in found["links"]] == ["Chat", "Compare", "Duplicate with a change"]
    assert (found["hs"]["n"], found["fa"]["n"], found["sub"]) == (30, 20, "lab sentiment, 10% poison, seed 0; 60 of 60 rows")
    failed, job = write_attempt(quiet.workspace, "failed", message="<b>No\u202e</b>", seed=3)
    found = row(quiet, failed)
    assert (found["state"], found["kind"], found["goes_on"], found["message"]) == ("Failed", "flag", True, "<b>No⟨U+202E⟩</b>")
    assert found["links"] == [["Duplicate with a change", f"/train?job={job}"]]
    assert found["curve"]["last"] == f"{log_line(12, 40)['task']:.3f}"


def test_what_was_said_can_be_searched_and_text_that_hides_is_spelled_out(quiet: Studio) -> None:
    run = write_run(quiet.workspace, "sft")
    said_of(quiet, run, "tags", ["Paper"])
    said_of(quiet, run, "note", "For the \u202eappendix")
    found = row(quiet, run)
    assert all(word in found["words"] for word in ("plain sft", "paper", "appendix", run, "finished", "lab sentiment"))
    assert (found["tags"], found["note"]) == (["Paper"], "For the ⟨U+202E⟩appendix")
    assert said_of(quiet, run, "name", "  ") == "The generated name is back."
    with pytest.raises(SpecError, match="nothing called 'seed'"):
        said_of(quiet, run, "seed", "3")


def test_runs_are_sent_again_only_when_something_changed(quiet: Studio) -> None:
    run = write_run(quiet.workspace, "sft")
    first = history_value(quiet)
    assert len(first["rows"]) == 1 and history_value(quiet, first["stamp"])["rows"] is None
    said_of(quiet, run, "name", "baseline")
    assert history_value(quiet, first["stamp"])["rows"][0]["title"] == "baseline"


def test_settings_stand_in_columns_of_the_runs_in_the_order_they_were_ticked(quiet: Studio) -> None:
    runs = [write_run(quiet.workspace, "sft", seed=seed, steps=40 + seed) for seed in range(MOST_COMPARED + 1)]
    said_of(quiet, runs[1], "name", "second")
    found = settings_value(quiet, [runs[1], runs[0]])
    assert [one["title"] for one in found["columns"]] == ["second", "Plain SFT, 40 steps"]
    assert found["rows"] == [{"label": "Training: Steps", "values": ["41", "40"]}, {"label": "Seed", "values": ["1", "0"]}]
    assert settings_value(quiet, [runs[0], runs[0]])["empty"].startswith("They have the same settings")
    with pytest.raises(SpecError, match="at most 6"):
        settings_value(quiet, runs)


def test_compare_shows_the_settings_of_its_runs_or_of_the_pair_where_they_are_too_many(quiet: Studio) -> None:
    ids = finished_project(quiet.workspace)
    found = view.settings_of(quiet, list(ids.values()), pair=(ids["sft"], ids["ref_teacher"]))
    assert len(found["columns"]) == 2 and {"label": "Method", "values": ["Plain SFT", "Ref-Teacher"]} in found["rows"]
    assert "at least two" in view.settings_of(quiet, [ids["base"], ids["sft"]], pair=(None, None))["empty"]
    many = [*ids.values(), *(write_run(quiet.workspace, "sft", seed=seed) for seed in range(2, 8))]
    found = view.settings_of(quiet, many, pair=(ids["sft"], many[-1]))
    assert len(found["columns"]) == 2 and found["note"].startswith("8 runs are too many")
    assert "too many" in view.settings_of(quiet, many, pair=(ids["base"], ids["sft"]))["empty"]


def test_the_card_draws_a_run_that_was_not_finished(quiet: Studio) -> None:
    run, job = write_attempt(quiet.workspace, "failed")
    page = live_page(quiet, run, "", 0)
    assert (page.subject, page.state, page.live, [line["step"] for line in page.rows]) == (job, "Failed", False, list(range(1, 13)))


# --- in a browser ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def history(page: Page, studio: Studio) -> Iterator[dict[str, str]]:
    """Two finished runs and one that failed in the workspace of the app, by a word of their names; the page is open."""
    made = {"short": write_run(studio.workspace, "sft", steps=31, seed=71), "long": write_run(studio.workspace, "sft", steps=32, seed=72)}
    made["failed"] = write_attempt(studio.workspace, "failed", message="The loss of step 13 is infinite.", seed=73)[0]
    answer_like(studio.workspace, made["short"], "sft")
    studio.runs.say(made["short"], name="the short one", tags=["june", "paper"])
    studio.runs.say(made["long"], tags=["june"])
    page.goto("/train")
    page.locator("#train-runs tr[data-run]").first.wait_for()
    yield made
    for run in made.values():
        if any(one.run_id == run for one in studio.runs.every()):
            studio.runs.delete(run)


def line(page: Page, run: str) -> Locator:
    return page.locator(f"#train-runs tr[data-run={run}]")


def opened(page: Page, run: str) -> Locator:
    """The details of a run, which is selected."""
    line(page, run).locator(".rh-name").click()
    details = page.locator("#train-runs tr.rd")
    details.wait_for()
    return details


@pytest.mark.browser
def test_a_run_is_renamed_in_place_and_has_its_name_everywhere_until_that_is_undone(
    page: Page, studio: Studio, history: dict[str, str]
) -> None:
    details = opened(page, history["long"])
    generated = details.get_by_label("Name of the run").input_value()
    details.get_by_label("Name of the run").fill("a name <b>of its own</b>")
    details.get_by_label("Name of the run").press("Enter")
    expect(details.locator(".rd-said")).to_have_text("Saved.")
    expect(line(page, history["long"]).locator(".rh-name")).to_have_text("a name <b>of its own</b>")
    expect(page.locator("#live-run .lr-title")).to_contain_text("a name <b>of its own</b>")
    assert next(one.title for one in studio.chat.models() if one.id == history["long"]) == "a name <b>of its own</b>"
    details.get_by_role("button", name="Undo").click()
    expect(line(page, history["long"]).locator(".rh-name")).to_have_text(generated)
    details.get_by_label("Name of the run").fill("THE SHORT ONE")
    details.get_by_label("Name of the run").press("Enter")
    expect(details.locator(".rd-said[data-kind=error]")).to_contain_text("Another run is called 'THE SHORT ONE'")
    assert details.get_by_label("Name of the run").input_value() == "THE SHORT ONE", "what was typed stays to be changed"
    details = opened(page, history["short"])
    expect(details.locator(".rd-hint").first).to_contain_text("Generated: Plain SFT")
    details.get_by_role("button", name="Use it").click()
    expect(details.locator(".rd-said")).to_have_text("The generated name is back.")
    expect(line(page, history["short"]).locator(".rh-name")).to_contain_text("31 steps")


@pytest.mark.browser
def test_tags_and_a_note_are_kept_at_once_and_are_there_after_a_reload(page: Page, studio: Studio, history: dict[str, str]) -> None:
    details = opened(page, history["long"])
    details.get_by_label("Add a tag").fill("keep, June")
    details.get_by_label("Add a tag").press("Enter")
    expect(line(page, history["long"]).locator(".rh-tag")).to_have_text(["june", "keep"])
    details.get_by_role("button", name="Remove the tag june").click()
    expect(line(page, history["long"]).locator(".rh-tag")).to_have_text(["keep"])
    details.get_by_label("Note on the run").press_sequentially("Seen by two people.")
    expect(details.locator(".rd-said")).to_have_text("Saved.")  # nothing was pressed: typing ended
    expect(details.get_by_label("Note on the run")).to_be_focused()
    page.reload()
    details = page.locator("#train-runs tr.rd")
    expect(details.get_by_label("Note on the run")).to_have_value("Seen by two people.")
    expect(line(page, history["long"])).to_have_attribute("aria-selected", "true")
    assert next(one.note.tags for one in studio.runs.every() if one.run_id == history["long"]) == ("keep",)


@pytest.mark.browser
def test_runs_are_filtered_by_words_and_tags_and_sorted(page: Page, history: dict[str, str]) -> None:
    whole = page.locator("#train-runs tr[data-run]").count()
    page.locator("#train-runs [data-tag=june]").click()
    expect(page.locator("#train-runs tr[data-run]")).to_have_count(2)
    page.locator("#train-runs [data-tag=paper]").click()
    expect(page.locator("#train-runs tr[data-run]")).to_have_count(1)
    expect(page.locator("#train-runs .rh-count")).to_have_text(f"1 of {whole} runs")
    page.get_by_label("Search runs").fill("failed")
    page.locator("#train-runs").get_by_text("No run fits.").wait_for()
    page.get_by_role("button", name="Show all runs").click()
    expect(page.locator("#train-runs tr[data-run]")).to_have_count(whole)
    page.get_by_label("Search runs").fill("FAILED infinite")
    expect(page.locator("#train-runs tr[data-run]")).to_have_count(1)
    page.get_by_label("Search runs").fill("")
    page.locator("#train-runs [data-tag=june]").click()
    page.locator("#train-runs thead").get_by_role("button", name="Run").click()
    names = page.locator("#train-runs tr[data-run] .rh-name")
    assert names.all_inner_texts() == sorted(names.all_inner_texts(), key=str.casefold)
    page.locator("#train-runs thead").get_by_role("button", name="Run").click()
    expect(page.locator("#train-runs th[aria-sort=descending]")).to_have_count(1)
    assert names.all_inner_texts() == sorted(names.all_inner_texts(), key=str.casefold, reverse=True)


@pytest.mark.browser
def test_two_ticked_runs_are_compared_setting_by_setting_here_and_on_compare(page: Page, studio: Studio, history: dict[str, str]) -> None:
    for run in ("short", "long"):
        line(page, history[run]).get_by_role("checkbox").check()
    table = page.locator("#train-runs .sr-table")
    expect(table.locator("thead th")).to_have_count(3)
    assert table.locator("tbody tr", has_text="Training: Steps").locator("td").all_inner_texts() == ["31", "32"]
    page.locator("#train-runs").get_by_role("button", name="Untick all").click()
    expect(page.locator("#train-runs .rh-differ")).to_be_hidden()
    answer_like(studio.workspace, history["long"], "sft")
    page.goto(f"/compare?runs={history['short']},{history['long']}")
    found = page.locator("#compare-settings tbody tr", has_text="Training: Steps").locator("td")
    expect(found).to_have_count(2)
    assert set(found.all_inner_texts()) == {"31", "32"}


@pytest.mark.browser
def test_a_run_is_deleted_after_it_was_said_what_goes_and_one_that_is_held_is_not(
    page: Page, studio: Studio, history: dict[str, str]
) -> None:
    tell(studio.workspace, {history["short"]})
    details = opened(page, history["short"])
    details.get_by_role("button", name="Delete…").click()
    details.get_by_text("Chat has 'the short one' in memory.").wait_for()
    assert details.get_by_role("button", name="Delete for good").count() == 0
    details.get_by_role("button", name="Close").click()
    tell(studio.workspace, set())
    details.get_by_role("button", name="Delete…").click()
    details.get_by_text("its evaluation (80 graded answers) and its name, tags and note go for good.").wait_for()
    details.get_by_role("button", name="Keep it").click()
    assert studio.runs.find(history["short"])
    details.get_by_role("button", name="Delete…").click()
    details.get_by_role("button", name="Delete for good").click()
    page.locator("#train-runs .rh-said").get_by_text("the short one is deleted.").wait_for()
    expect(line(page, history["short"])).to_have_count(0)
    assert not any(one.run_id == history["short"] for one in studio.runs.every()) and "run=" not in page.url


@pytest.mark.browser
def test_a_failed_run_says_why_is_drawn_and_goes_on(
    page: Page, studio: Studio, history: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    retried: list[str] = []
    monkeypatch.setattr(studio.jobs, "retry", lambda job, anew=False: retried.append(job))
    details = opened(page, history["failed"])
    expect(details.locator(".rd-facts")).to_contain_text("The loss of step 13 is infinite.")
    expect(line(page, history["failed"]).locator(".rs-badge")).to_have_text("Failed")
    expect(line(page, history["failed"]).locator("svg.rh-curve path")).to_have_count(1)
    page.locator("#live-run .lr-state", has_text="Failed").wait_for()
    details.get_by_role("button", name="Go on").click()
    expect(details.locator(".rd-said")).to_contain_text("It is queued")
    assert len(retried) == 1


@pytest.mark.browser
def test_the_open_run_stays_open_when_it_is_stopped_and_saved_under_another_id(page: Page, studio: Studio, history: dict[str, str]) -> None:
    asked, job = write_attempt(studio.workspace, "running", seed=74)
    page.reload()
    details = opened(page, asked)
    details.get_by_label("Name of the run").fill("the one that was stopped")
    details.get_by_label("Name of the run").press("Enter")
    expect(details.locator(".rd-said")).to_have_text("Saved.")
    saved = write_run(studio.workspace, "sft", stop_after=12, seed=74)
    became(studio.workspace, job, asked=asked, run=saved)
    table.finish(studio.workspace, job, 1, "done", message="", result={"run": saved}, now=time.time())
    expect(line(page, saved)).to_have_attribute("aria-selected", "true")
    expect(line(page, saved).locator(".rh-name")).to_have_text("the one that was stopped")
    assert line(page, asked).count() == 0 and saved in page.url
    studio.runs.delete(saved)


@pytest.mark.browser
def test_an_empty_project_says_that_runs_stay_here(page: Page, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio.runs, "every", lambda: [])
    page.goto("/train")
    page.locator("#train-runs").get_by_text("No run yet").wait_for()
    assert page.locator("#train-runs table").is_hidden()
