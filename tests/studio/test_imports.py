from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_studio.data.reading import readers
from reft_studio.data.reading.readers import import_file
from reft_studio.data.rows.mapping import Mapping
from reft_studio.errors import DataError, SpecError
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.progress import Silent
from reft_studio.studio.row_query import RowFilter
from reft_studio.studio.studio import Studio
from reft_studio.tasks import import_data
from reft_studio.workspace import Workspace


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    opened = Studio(Workspace.open(tmp_path / "workspace"))
    yield opened
    opened.imports.close()


def imported(studio: Studio, tmp_path: Path, text: str, name: str = "rows.csv", mapping: Mapping | None = None) -> str:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return import_file(studio.workspace, path, mapping=mapping).dataset_id


def test_a_folder_of_parts_is_looked_at_and_brought_in_by_a_job(studio: Studio, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for place in range(2):
        table = pa.table({"prompt": [f"Question {place}?"], "response": [f"Answer {place}."]})
        pq.write_table(table, folder / f"train-{place:05d}-of-00002.parquet")
    found = studio.imports.look(f' "{folder}" ')
    assert [part.name for part in found.parts] == ["train"]
    assert studio.imports.preview(str(folder), "train").format == "pairs"
    done = studio.jobs.wait(studio.imports.bring(str(folder), "train"), timeout_s=60)
    assert done.state == "done", done.message
    made = str((done.result or {})["dataset_id"])
    origin = studio.datasets.origin(made)
    assert origin is not None and origin["place"] == "folder" and [len(file["sha256"]) for file in origin["files"]] == [64, 64]
    assert [row["prompt"] for row in studio.datasets.rows(made, RowFilter(order="file"), offset=0, limit=5).rows] == [
        "Question 0?",
        "Question 1?",
    ]


def test_what_the_look_at_an_upload_found_is_passed_on_to_its_import(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    path = studio.workspace.folder("uploads", "incoming") / "rows.csv"
    path.parent.mkdir(parents=True)
    path.write_text("prompt;response\na?;b\n", "utf-8")
    assert studio.imports.preview_file(path).container == "csv"
    params = studio.jobs.get(studio.imports.upload(path)).params
    monkeypatch.setattr(readers, "detect", lambda path: pytest.fail(f"{path} was looked at again"))
    assert import_data.import_file(ForegroundContext(studio.workspace, Silent()), params)["rows"] == 1


@pytest.mark.parametrize("text", ["", "  ", "x" * 2000, "a\0b"])
def test_what_is_no_place_is_refused(studio: Studio, text: str) -> None:
    with pytest.raises(SpecError):
        studio.imports.look(text)


def test_an_upload_is_read_again_with_other_columns_from_what_was_kept(studio: Studio, tmp_path: Path) -> None:
    first = imported(studio, tmp_path, "prompt,response,other\na?,b,c\nd?,e,f\n")
    (tmp_path / "rows.csv").unlink()
    again = Mapping(format="pairs", columns={"prompt": "prompt", "response": "other"})
    done = studio.jobs.wait(studio.imports.read_again(first, again, replace=True), timeout_s=60)
    assert done.state == "done" and done.params["replaces"] == first
    rows = studio.datasets.rows(str((done.result or {})["dataset_id"]), RowFilter(order="file"), offset=0, limit=5).rows
    assert [row["response"] for row in rows] == ["c", "f"] and studio.imports.original(first).is_file()


@pytest.mark.parametrize(("name", "form", "rows"), [("openai", "openai", 11), ("alpaca", "alpaca", 10), ("sharegpt", "sharegpt", 10)])
def test_examples_are_recognised_and_hold_something_odd(studio: Studio, name: str, form: str, rows: int) -> None:
    report = import_file(studio.workspace, studio.imports.example(name))
    assert (report.format, report.rows) == (form, rows) and report.quarantined


@pytest.mark.parametrize(("name", "aside"), [("csv", 1), ("parquet", 0)])
def test_tables_among_the_examples_are_read_with_their_odd_names(studio: Studio, name: str, aside: int) -> None:
    report = import_file(studio.workspace, studio.imports.example(name))
    assert (report.rows, report.quarantined) == (10, aside)


def test_a_sample_has_no_file_to_read_again(studio: Studio) -> None:
    from reft_studio.tasks import lab_data

    with pytest.raises(DataError, match="not read from a file"):
        studio.imports.original(lab_data.sample(studio.workspace, rows=10).id)


def test_only_columns_that_a_person_chose_are_kept_for_reading_again(studio: Studio, tmp_path: Path) -> None:
    text = "prompt,response\na,b\n"
    assert studio.imports.mapping_of(imported(studio, tmp_path, text)) is None
    turned = {"prompt": "response", "response": "prompt"}
    kept = studio.imports.mapping_of(imported(studio, tmp_path, text, mapping=Mapping(columns=turned)))
    assert kept is not None and kept.columns == turned
