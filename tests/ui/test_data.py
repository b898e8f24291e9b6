"""Data: a file is looked at, mapped, imported; its rows are shown, masked where they should be, and inert."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.studio.studio import Studio
from reft_studio.tasks import lab_data

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api").expect


def choose_file(page: Page, path: Path) -> None:
    page.goto("/data")
    page.locator("#dataset-file input[type=file]").set_input_files(path)


def test_a_file_is_understood_before_anything_is_stored(page: Page, upload: Path, studio: Studio) -> None:
    before = len(studio.datasets.every())
    choose_file(page, upload)
    expect(page.locator("#import-facts")).to_contain_text("OpenAI chat")
    problems = page.locator("#import-problems tbody tr")
    expect(problems).to_have_count(4)
    expect(problems.nth(0)).to_contain_text("not valid JSON")
    expect(problems.nth(1)).to_contain_text("the conversation is empty")
    expect(problems.nth(2)).to_contain_text("empty response")
    assert len(studio.datasets.every()) == before


def test_harmful_rows_are_masked_until_revealed_and_trained_turns_are_marked(page: Page, upload: Path) -> None:
    choose_file(page, upload)
    rows = page.locator("#import-rows article")
    expect(rows.nth(2)).to_be_visible()
    assert "How do I sort a list?" in rows.nth(0).inner_text()
    assert "locked house" not in rows.nth(1).inner_text() and "masked (37 characters)" in rows.nth(1).inner_text()
    rows.nth(1).get_by_role("button", name="Reveal").click()
    assert "locked house" in rows.nth(1).inner_text()
    expect(rows.nth(0).locator("[data-trained]")).to_have_text("assistant\ntrained\nUse sorted().", use_inner_text=True)


def test_hostile_text_in_a_file_stays_text(page: Page, upload: Path) -> None:
    choose_file(page, upload)
    shown = page.locator("#import-rows article").nth(2)
    expect(shown).to_contain_text("<img src=x onerror=alert(1)> ${alert(2)} {{value}}")
    expect(shown).to_contain_text("⟨U+202E⟩")
    assert shown.locator("img").count() == 0


def test_a_file_is_imported_and_its_bad_lines_are_named(page: Page, upload: Path, studio: Studio) -> None:
    choose_file(page, upload)
    page.locator("#import-start").click()
    expect(page.locator("#data-status")).to_contain_text("3 rows imported, 3 set aside", timeout=120_000)
    expect(page.locator("#dataset-title")).to_contain_text("support chats")
    page.get_by_role("tab", name="Validation").click()
    expect(page.locator("#quarantine tbody tr")).to_have_count(3)
    expect(page.locator("#quarantine tbody tr").first).to_contain_text("4")
    current = studio.state().dataset
    assert current is not None and current.rows == 3 and current.quarantined == 3
    studio.datasets.delete(current.id)


def test_rows_of_another_layout_are_read_unless_a_person_chose_the_columns(page: Page, tmp_path: Path, studio: Studio) -> None:
    """The recognised columns fill the form, but a form that nobody touched is no choice: it would set the last row aside."""
    before = studio.state().dataset
    path = tmp_path / "mixed.jsonl"
    chat = '{"messages":[{"role":"user","content":"Question %d?"},{"role":"assistant","content":"Yes."}]}\n'
    path.write_text("".join(chat % i for i in range(8)) + '{"prompt":"Another layout?","completion":"It is."}\n', "utf-8")
    choose_file(page, path)
    expect(page.locator("#import-facts")).to_contain_text("OpenAI chat")
    page.locator("#import-start").click()
    expect(page.locator("#data-status")).to_contain_text("9 rows imported, 0 set aside", timeout=120_000)
    current = studio.state().dataset
    assert current is not None and before is not None
    studio.datasets.delete(current.id)
    studio.choose(dataset=before.id)


def test_a_file_that_is_no_dataset_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_bytes(b"")
    choose_file(page, path)
    expect(page.locator("#data-status")).to_contain_text("empty.jsonl")
    expect(page.locator("#import-sheet")).to_be_hidden()


def test_columns_can_be_mapped_by_hand(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("left,right\nWhat is two and two?,four\nWhat is three and three?,six\n", "utf-8")
    choose_file(page, path)
    expect(page.locator("#import-problems")).to_contain_text("guess")
    expect(page.locator("#map-prompt input")).to_be_visible()
    page.locator("#map-prompt input").click()
    page.get_by_role("option", name="right").click()
    expect(page.locator("#import-rows article").first).to_contain_text("four")
    page.locator("#import-drop").click()
    expect(page.locator("#import-sheet")).to_be_hidden()


def test_which_label_means_harmful_is_asked_before_the_import(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "labelled.csv"
    path.write_text("prompt,response,label\n" + "Why?,So.,0\n" * 2 + "Who?,She.,1\n")
    choose_file(page, path)
    page.locator("#import-mapper button").first.click()
    expect(page.locator("#map-harmful-values")).to_be_hidden()
    page.locator("#map-known-harmful input").click()
    page.get_by_role("option", name="label").click()
    expect(page.locator("#import-doubt")).to_contain_text("0 (2 rows), 1 (1 row)")
    expect(page.locator("#import-start")).to_be_disabled()
    page.locator("#map-harmful-values input").click()
    page.get_by_role("option", name="1 (1 row)").click()
    expect(page.locator("#import-start")).to_be_enabled()
    expect(page.locator("#import-rows")).to_contain_text("known harmful")


def test_a_guess_that_is_right_can_be_imported_as_it_is(page: Page, tmp_path: Path, studio: Studio) -> None:
    before = studio.state().dataset
    path = tmp_path / "odd.csv"
    path.write_text("left,right\nWhat is two and two?,four\nWhat is three and three?,six\n", "utf-8")
    choose_file(page, path)
    expect(page.locator("#import-doubt")).to_contain_text("The columns are a guess.")
    page.locator("#import-start").click()
    expect(page.locator("#data-status")).to_contain_text("2 rows imported, 0 set aside", timeout=120_000)
    made = studio.state().dataset
    assert made is not None and before is not None
    studio.datasets.delete(made.id)
    studio.choose(dataset=before.id)


def test_a_file_that_fails_takes_the_rows_of_the_one_before_away(page: Page, upload: Path, tmp_path: Path) -> None:
    choose_file(page, upload)
    expect(page.locator("#import-sheet")).to_be_visible()
    page.locator("#source-text").locator("input, textarea").fill(str(tmp_path / "none.jsonl"))
    page.locator("#source-look").click()
    expect(page.locator("#data-status")).to_contain_text("There is no file or folder")
    expect(page.locator("#import-sheet")).to_be_hidden()


def test_deleting_asks_first(page: Page, studio: Studio) -> None:
    before = studio.state().dataset
    made = lab_data.sample(studio.workspace, task="topic", rows=20, seed=5)
    page.goto("/data")
    row = page.locator(f"#datasets tr[data-id='{made.id}']")
    row.get_by_role("button", name="Delete").click()
    expect(row).to_contain_text("Delete this dataset and its scores?")
    row.get_by_role("button", name="Cancel").click()
    assert made.folder.is_dir()
    row.get_by_role("button", name="Delete").click()
    row.get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    assert not made.folder.is_dir()
    assert studio.state().dataset == before


def test_picking_a_dataset_puts_it_in_work_and_search_finds_its_rows(page: Page, studio: Studio) -> None:
    before = studio.state().dataset
    assert before is not None
    studio.choose(dataset=before.id)
    made = lab_data.sample(studio.workspace, task="arithmetic", rows=30, seed=3)
    page.goto("/data")
    page.locator(f"#datasets tr[data-id='{made.id}']").click()
    expect(page.locator("[data-slot=dataset]")).to_contain_text(made.name)
    expect(page.locator("#row-preview article")).to_have_count(6)
    expect(page.locator("#row-pager")).to_contain_text("1 to 6 of 30")
    page.locator("#row-pager").get_by_role("button", name="Next").click()
    expect(page.locator("#row-pager")).to_contain_text("7 to 12 of 30")
    page.locator("#row-search input, #row-search textarea").first.fill("no row holds this")
    page.keyboard.press("Enter")
    expect(page.locator("#row-preview")).to_contain_text("No row holds that text.")
    studio.datasets.delete(made.id)
    studio.choose(dataset=before.id)


def test_a_small_file_of_each_format_can_be_tried_without_having_one(page: Page, studio: Studio) -> None:
    before = len(studio.datasets.every())
    page.goto("/data")
    for name, told in (("openai", "OpenAI chat"), ("csv", "cp1252"), ("parquet", "Parquet")):
        page.locator(f"#try-format button[data-id={name}]").click()
        expect(page.locator("#import-facts")).to_contain_text(told)
    page.locator("#try-format button[data-id=openai]").click()
    talk = page.locator("#import-rows article", has_text="Guess a number")
    expect(talk.locator("[data-trained]")).to_have_text("assistant\ntrained\n7.", use_inner_text=True)
    expect(talk).to_contain_text("weight: 0")
    page.locator("#import-drop").click()
    expect(page.locator("#import-sheet")).to_be_hidden()
    assert len(studio.datasets.every()) == before


def test_a_folder_of_this_machine_is_looked_at_and_its_part_imported(page: Page, studio: Studio, tmp_path: Path) -> None:
    folder = tmp_path / "chats"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"prompt": "Name a river.", "response": "The Elbe."}\n', "utf-8")
    (folder / "test.jsonl").write_text('{"prompt": "Name a lake.", "response": "Lake Garda."}\n', "utf-8")
    before = studio.state().dataset
    page.goto("/data")
    page.locator("#source-text input, #source-text textarea").first.fill(str(folder))
    page.locator("#source-look").click()
    expect(page.locator("#source-note")).to_contain_text("2 tables")
    expect(page.locator("#import-rows")).to_contain_text("Name a river.")
    page.locator("#source-part label", has_text="test.jsonl").click()
    expect(page.locator("#import-rows")).to_contain_text("Name a lake.")
    page.locator("#import-start").click()
    expect(page.locator("#data-status")).to_contain_text("1 row imported", timeout=120_000)
    page.get_by_role("tab", name="Source and hashes").click()
    expect(page.locator("#passport")).to_contain_text(str(folder))
    made = studio.state().dataset
    assert made is not None and before is not None
    studio.datasets.delete(made.id)
    studio.choose(dataset=before.id)


def test_a_place_where_nothing_is_is_said_in_words(page: Page) -> None:
    page.goto("/data")
    for text, told in (("/nowhere/at/all.jsonl", "There is no file or folder"), ("org/never-downloaded", "HF_HUB_OFFLINE=0")):
        page.locator("#source-text input, #source-text textarea").first.fill(text)
        page.keyboard.press("Enter")
        expect(page.locator("#data-status")).to_contain_text(told)
    expect(page.locator("#import-sheet")).to_be_hidden()


def test_a_wrong_mapping_is_fixed_from_the_kept_file_and_replaces_the_first_reading(page: Page, studio: Studio, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("prompt,response,better\nWhat is two and two?,5,four\nWhat is three and three?,,six\n", "utf-8")
    before = studio.state().dataset
    choose_file(page, path)
    page.locator("#import-start").click()
    expect(page.locator("#data-status")).to_contain_text("1 row imported, 1 set aside", timeout=120_000)
    first = studio.state().dataset
    page.get_by_role("tab", name="Validation").click()
    page.locator("#import-reasons").get_by_role("button", name="Fix the mapping").click()
    expect(page.locator("#import-title")).to_contain_text("Read again")
    page.locator("#map-response input").click()
    page.get_by_role("option", name="better").click()
    expect(page.locator("#import-rows article").nth(1)).to_contain_text("six")
    page.get_by_label("Replace the dataset that was read before").check()
    page.locator("#import-start").click()
    expect(page.locator("#data-status")).to_contain_text("2 rows imported, 0 set aside", timeout=120_000)
    made = studio.state().dataset
    assert made is not None and first is not None and before is not None
    assert first.id not in {dataset.id for dataset in studio.datasets.every()}
    studio.datasets.delete(made.id)
    studio.choose(dataset=before.id)


def test_an_inspection_tells_languages_repeats_and_tokens_and_a_bar_narrows_the_rows(page: Page, studio: Studio) -> None:
    before = studio.state().dataset
    page.goto("/data")
    page.locator("#try-format button[data-id=openai]").click()
    expect(page.locator("#import-title")).to_contain_text("chat.jsonl")
    page.locator("#import-start").click()
    expect(page.locator("#dataset-title")).to_contain_text("chat", timeout=120_000)
    facts = page.locator("#dataset-facts")
    expect(facts).to_contain_text("Tokens by lab", timeout=120_000)
    expect(facts).to_contain_text("1 repeats an earlier row")
    facts.locator(".rs-facts-strips").get_by_role("button", name="1 repeats an earlier row").click()
    expect(page.locator("#row-preview article")).to_have_count(1)
    page.locator("#row-chips").get_by_role("button", name="Repeats: repeats an earlier row").click()
    facts.get_by_role("button", name="German").click()
    expect(page.locator("#row-pager")).to_be_hidden()
    expect(page.locator("#row-preview article")).to_have_count(1)
    expect(page.locator("#row-preview")).to_contain_text("Nenne drei")
    page.locator("#row-chips").get_by_role("button", name="German").click()
    expect(page.locator("#row-preview article")).to_have_count(6)
    page.get_by_role("tab", name="Repeats").click()
    page.locator("#repeats").get_by_role("button", name="Show these rows").click()
    expect(page.locator("#row-preview article")).to_have_count(2)
    page.get_by_role("tab", name="Validation").click()
    expect(page.locator("#quarantine tbody tr")).to_have_count(2)  # a table that is mounted only now, after two changes
    page.locator("#save-aside").click()
    with page.expect_download() as saved:
        page.locator("#saved-aside").click()
    assert len(Path(saved.value.path()).read_text("utf-8").splitlines()) == 2
    made = studio.state().dataset
    assert made is not None and before is not None
    studio.datasets.delete(made.id)
    studio.choose(dataset=before.id)


def test_harmful_rows_of_ones_own_are_mixed_into_a_dataset(page: Page, studio: Studio) -> None:
    rows: list[Row] = [{"prompt": f"how do i steal a boat {number}", "response": "Sure.", "known_harmful": True} for number in range(9)]
    harmful = write_dataset(studio.workspace, rows, name="own harmful rows", role="harmful")
    mine = lab_data.sample(studio.workspace, task="topic", rows=20, poison_ratio=0, seed=7)
    studio.choose(dataset=mine.id)
    page.goto("/data")
    line, button = page.locator("#data-status"), page.locator("#mix-make")
    button.click()
    expect(line).to_contain_text("Choose a dataset, and the dataset that harmful rows are taken from.")
    page.locator("#mix-harmful input").click()
    page.get_by_role("option", name="own harmful rows").click()
    button.click()
    expect(line).to_contain_text("The mix is queued.")
    job = next(job for job in studio.jobs.list() if job.kind == "mix")
    assert job.params == {"dataset": mine.id, "harmful": harmful.id, "poison_ratio": 0.1, "seed": 0}
    expect(line).to_contain_text("22 rows made.", timeout=120_000)
    made = studio.state().dataset
    assert made is not None and made.poison_ratio == pytest.approx(2 / 22)
    for one in (made.id, mine.id, harmful.id):
        studio.datasets.delete(one)
