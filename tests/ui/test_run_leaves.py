"""What a finished run leaves, on the Train page: its files, a merged model on request, and what it cost."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reft_studio.errors import PrerequisiteError
from reft_studio.studio.studio import Studio
from reft_studio.training.merged import MergedRun, merged_folder, write_facts
from reft_studio.workspace import Workspace
from tests.ui.finished_runs import give_costs, write_run
from ui import downloads
from ui.train import run_leaves

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ("run", "card", "title", "files", "merge", "pack", "save", "need", "figures", "stages", "notes")


@pytest.fixture
def quiet(tmp_path: Path) -> Studio:
    return Studio(Workspace.open(tmp_path / "workspace"))


def shown(studio: Studio, run: str = "", dtype: str = "auto") -> dict[str, Any]:
    return dict(zip(NAMES, run_leaves.values(studio, run, dtype), strict=True))


def merged(studio: Studio, run: str, *, dtype: str = "float32", size: int = 6_800_000, rounding: float = 0.0) -> Path:
    """A folder as a merge job leaves it, without its weights."""
    folder = merged_folder(studio.workspace, run)
    folder.mkdir(parents=True)
    write_facts(folder, MergedRun(run, "Plain SFT", "lab", dtype, size, rounding, None, "2026-11-24T12:00:00+00:00"))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_without_a_run_there_is_no_card(quiet: Studio) -> None:
    assert shown(quiet)["card"]["visible"] is False and shown(quiet)["merge"]["interactive"] is False


def test_a_run_shows_its_adapter_what_merging_takes_and_what_it_cost(quiet: Studio) -> None:
    run = write_run(quiet.workspace, "sft")
    give_costs(quiet.workspace, run)
    told = shown(quiet, run)
    assert (told["run"], told["card"]["visible"], told["title"]["text"]) == (run, True, "Plain SFT")
    adapter, model = told["files"]["items"]
    assert adapter["value"].endswith(f"runs/{run}/adapter") and adapter["copy"] and model["value"] == "not made"
    assert told["merge"]["value"] == "Merge into the base" and told["merge"]["interactive"] and not told["pack"]["visible"]
    assert "Takes 6.9 MB in float32; " in told["need"]["text"] and "are free" in told["need"]["text"]
    assert told["figures"]["kpis"][0]["value"] == "16 s" and told["stages"]["rows"][0]["stage"] == "Load the model"


def test_a_run_that_is_gone_gives_way_to_the_newest(quiet: Studio) -> None:
    write_run(quiet.workspace, "sft", at=1)
    newest = write_run(quiet.workspace, "ref_teacher", at=2)
    assert shown(quiet, "r000000000000")["run"] == newest


def test_a_merged_model_is_shown_with_its_place_and_what_rounding_took_and_can_be_had(quiet: Studio) -> None:
    run = write_run(quiet.workspace, "sft")
    folder = merged(quiet, run, dtype="bfloat16", rounding=0.017)
    told = shown(quiet, run, "bfloat16")
    assert told["files"]["items"][1]["value"] == str(folder) and "cut off 1.7 %" in told["files"]["items"][1]["note"]
    assert (told["merge"]["value"], told["merge"]["interactive"], told["pack"]["visible"]) == ("Merged", False, True)
    other = shown(quiet, run, "float32")
    assert (other["merge"]["value"], other["merge"]["interactive"]) == ("Merge again", True)


def test_one_too_large_for_the_browser_is_to_be_copied(quiet: Studio) -> None:
    run = write_run(quiet.workspace, "sft")
    merged(quiet, run, size=16_000_000_000)
    told = shown(quiet, run, "float32")
    assert not told["pack"]["visible"] and "too large to be sent through the browser: copy the folder" in told["need"]["text"]


def test_too_little_disk_is_said_and_the_button_is_off(quiet: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(quiet.workspace, "sft")
    monkeypatch.setattr("reft_studio.models.merged_size.free_at", lambda place: 1_000_000)
    told = shown(quiet, run)
    assert told["merge"]["interactive"] is False and told["need"]["kind"] == "error" and "but 1.0 MB are free" in told["need"]["text"]


def test_a_merging_on_its_way_is_said(quiet: Studio) -> None:
    run = write_run(quiet.workspace, "sft")
    job = quiet.merged_models.start(run)
    assert quiet.merged_models.start(run) == job, "once is enough"
    assert (shown(quiet, run)["merge"]["value"], shown(quiet, run)["merge"]["interactive"]) == ("Merging…", False)
    quiet.jobs.cancel(job)
    assert shown(quiet, run)["merge"]["value"] == "Merge into the base"


def test_a_folder_is_packed_whole_and_only_where_there_is_room(quiet: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    folder = merged(quiet, write_run(quiet.workspace, "sft"))
    button = downloads.offer_folder(folder, "some-merged", "Save")
    path = Path(str(button.value["path"] if isinstance(button.value, dict) else button.value))
    assert path.is_relative_to(tmp_path / "served")
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["some-merged/merged.json", "some-merged/model.safetensors"]
        assert archive.read("some-merged/model.safetensors") == b"weights" and archive.testzip() is None
    monkeypatch.setattr(downloads, "_SPARE", 10**15)
    with pytest.raises(PrerequisiteError, match=r"Packing takes .* Copy the folder itself"):
        downloads.offer_folder(folder, "some-merged", "Save")


def test_deleting_a_run_takes_its_merged_model_along_and_says_so(quiet: Studio) -> None:
    run = write_run(quiet.workspace, "sft")
    folder = merged(quiet, run)
    assert "its merged model (" in quiet.runs.deletion(run).sentence
    job = quiet.merged_models.start(run, dtype="bfloat16")
    assert "needs 'Plain SFT'" in quiet.runs.deletion(run).held
    quiet.jobs.cancel(job)
    quiet.runs.delete(run)
    assert not folder.exists()


# --- in a browser ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def real(studio: Studio) -> Iterator[str]:
    """A finished run of the app's workspace with an adapter and a ledger."""
    run = next((one.run_id for one in studio.runs.finished() if (studio.workspace.folder("runs", one.run_id) / "adapter").is_dir()), None)
    if run is None:
        pytest.skip("the finished example does not ship here, so there is no run with an adapter to merge")
    costs = studio.workspace.folder("runs", run) / "cost.json"
    before = costs.read_bytes() if costs.is_file() else None
    give_costs(studio.workspace, run)
    yield run
    costs.unlink() if before is None else costs.write_bytes(before)
    shutil.rmtree(merged_folder(studio.workspace, run), ignore_errors=True)


@pytest.mark.browser
def test_a_run_is_merged_packed_and_saved_and_its_costs_are_shown(page: Page, real: str, studio: Studio, tmp_path: Path) -> None:
    page.goto(f"/train?run={real}")
    card = page.locator("#run-leaves")
    card.get_by_text(f"runs/{real}/adapter").wait_for()
    assert card.locator("#leaves-stages tbody tr").first.inner_text().startswith("Load the model")
    card.locator("#leaves-figures").get_by_text("peak memory of the process").wait_for()
    card.get_by_text("Passes in a step: ").wait_for()
    page.locator("#leaves-merge").click()
    card.get_by_text(f"merged/{real}").wait_for(timeout=180_000)
    card.get_by_role("button", name="Merged", exact=True).wait_for()
    page.locator("#leaves-pack").click()
    with page.expect_download() as saved:
        page.locator("#leaves-save").click(timeout=60_000)
    assert saved.value.suggested_filename == f"{real}-merged.zip"
    saved.value.save_as(tmp_path / "merged.zip")
    with zipfile.ZipFile(tmp_path / "merged.zip") as archive:
        assert f"{real}-merged/model.safetensors" in archive.namelist() and f"{real}-merged/README.md" in archive.namelist()
    assert studio.merged_models.state(real).state == "made"


@pytest.mark.browser
def test_the_card_follows_the_run_that_is_picked(page: Page, real: str, studio: Studio) -> None:
    other = next(one for one in studio.runs.finished() if one.run_id != real)
    page.goto(f"/train?run={real}")
    card = page.locator("#run-leaves")
    card.get_by_text(f"runs/{real}/adapter").wait_for()
    page.locator(f"#train-runs tr[data-run={other.run_id}]").click()
    card.get_by_text(f"runs/{other.run_id}/adapter").wait_for()


@pytest.mark.browser
def test_compare_has_the_costs_of_the_chosen_runs(page: Page, real: str) -> None:
    page.goto(f"/compare?runs={real}")
    card = page.locator("#compare-cost")
    card.locator("#compare-cost-table tbody tr").first.wait_for()
    card.locator(".js-plotly-plot").wait_for()
    card.get_by_text("× is how many times the work of plain finetuning").wait_for()
    assert "2.00 ×" in card.locator("#compare-cost-table").inner_text()
