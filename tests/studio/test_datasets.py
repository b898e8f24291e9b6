from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_studio.data.index.inspect import inspect
from reft_studio.data.reading.mapping import Mapping
from reft_studio.data.reading.readers import import_file
from reft_studio.errors import DataError, SpecError
from reft_studio.jobs.queue import JobQueue
from reft_studio.progress import Silent
from reft_studio.studio.datasets import DatasetSources
from reft_studio.studio.row_query import RowFilter
from reft_studio.workspace import Workspace


@pytest.fixture
def sources(tmp_path: Path) -> Iterator[DatasetSources]:
    workspace = Workspace.open(tmp_path / "workspace")
    opened = DatasetSources(workspace, JobQueue(workspace))
    yield opened
    opened.looker.close()


def imported(sources: DatasetSources, tmp_path: Path, text: str, name: str = "rows.csv", mapping: Mapping | None = None) -> str:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return import_file(sources.workspace, path, mapping=mapping).dataset_id


def test_a_folder_of_parts_is_looked_at_and_brought_in_by_a_job(sources: DatasetSources, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for place in range(2):
        table = pa.table({"prompt": [f"Question {place}?"], "response": [f"Answer {place}."]})
        pq.write_table(table, folder / f"train-{place:05d}-of-00002.parquet")
    found = sources.look(f' "{folder}" ')
    assert [part.name for part in found.parts] == ["train"]
    assert sources.preview(str(folder), "train").format == "pairs"
    done = sources.jobs.wait(sources.bring(str(folder), "train"), timeout_s=60)
    assert done.state == "done", done.message
    made = str((done.result or {})["dataset_id"])
    origin = sources.origin(made)
    assert origin is not None and origin["place"] == "folder" and [len(file["sha256"]) for file in origin["files"]] == [64, 64]
    assert [row["prompt"] for row in sources.rows(made, RowFilter(order="file"), offset=0, limit=5).rows] == ["Question 0?", "Question 1?"]


@pytest.mark.parametrize("text", ["", "  ", "x" * 2000, "a\0b"])
def test_what_is_no_place_is_refused(sources: DatasetSources, text: str) -> None:
    with pytest.raises(SpecError):
        sources.look(text)


def test_an_upload_is_read_again_with_other_columns_from_what_was_kept(sources: DatasetSources, tmp_path: Path) -> None:
    first = imported(sources, tmp_path, "prompt,response,other\na?,b,c\nd?,e,f\n")
    (tmp_path / "rows.csv").unlink()
    again = Mapping(format="pairs", columns={"prompt": "prompt", "response": "other"})
    done = sources.jobs.wait(sources.read_again(first, again, replace=True), timeout_s=60)
    assert done.state == "done" and done.params["replaces"] == first
    rows = sources.rows(str((done.result or {})["dataset_id"]), RowFilter(order="file"), offset=0, limit=5).rows
    assert [row["response"] for row in rows] == ["c", "f"] and sources.original(first).is_file()


def test_rows_come_with_their_whole_chat_and_can_be_narrowed_by_a_facet(sources: DatasetSources, tmp_path: Path) -> None:
    made = imported(sources, tmp_path, "prompt,response,origin\na?,b,left\nd?,e,right\n")
    page = sources.rows(made, RowFilter(facets=(("origin", "right"),), order="file"), offset=0, limit=5)
    assert page.total == 1 and json.loads(page.rows[0]["messages"])[0]["content"] == "d?"


def test_rows_that_repeat_each_other_are_shown_together(sources: DatasetSources, tmp_path: Path) -> None:
    made = imported(sources, tmp_path, "prompt,response\na long question?,b\nother?,c\na long question?,b\n")
    from reft_studio.data.dataset import open_dataset

    inspect(open_dataset(sources.workspace, made), Silent())
    found = sources.inspection(made)
    assert found is not None and found.groups == [(0, 2)]
    page = sources.group(made, 2, offset=0, limit=6)
    assert page.total == 2 and [row["row_id"] for row in page.rows] == [0, 2] == sources.row_ids(made, [0, 2])


def test_rows_set_aside_can_be_saved_with_their_line(sources: DatasetSources, tmp_path: Path) -> None:
    made = imported(sources, tmp_path, '{"prompt": "a?", "response": "b"}\n{"prompt": "c?"\n', "rows.jsonl")
    lines = [json.loads(line) for line in sources.set_aside_file(made).read_text("utf-8").splitlines()]
    assert [line["line"] for line in lines] == [2] and lines[0]["raw"].startswith('{"prompt": "c?"')
    assert len(sources.set_aside(made, limit=1)) == 1


def test_the_profile_is_counted_once(sources: DatasetSources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = imported(sources, tmp_path, "prompt,response\na?,b\n")
    first = sources.profile(made)
    monkeypatch.setattr("reft_studio.data.index.inspect.profile", lambda _dataset: pytest.fail("counted again"))
    assert sources.profile(made) == first is not None


@pytest.mark.parametrize(("name", "form", "rows"), [("openai", "openai", 11), ("alpaca", "alpaca", 10), ("sharegpt", "sharegpt", 10)])
def test_examples_are_recognised_and_hold_something_odd(sources: DatasetSources, name: str, form: str, rows: int) -> None:
    report = import_file(sources.workspace, sources.example(name))
    assert (report.format, report.rows) == (form, rows) and report.quarantined


@pytest.mark.parametrize(("name", "aside"), [("csv", 1), ("parquet", 0)])
def test_tables_among_the_examples_are_read_with_their_odd_names(sources: DatasetSources, name: str, aside: int) -> None:
    report = import_file(sources.workspace, sources.example(name))
    assert (report.rows, report.quarantined) == (10, aside)


def test_a_sample_has_no_file_to_read_again(sources: DatasetSources) -> None:
    from reft_studio.tasks import lab_data

    with pytest.raises(DataError, match="not read from a file"):
        sources.original(lab_data.sample(sources.workspace, rows=10).id)


def test_tokens_are_counted_again_for_another_teacher_only(sources: DatasetSources, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from reft_studio.data.dataset import open_dataset
    from reft_studio.tasks import lab_data
    from reft_studio.tasks.inspect import tokenizer_of
    from reft_studio.teacher.teacher import open_teacher

    made = lab_data.sample(sources.workspace, rows=10).id
    monkeypatch.setattr("reft_studio.studio.project.chosen_scores", lambda *_args: SimpleNamespace(teacher="lab"))
    assert sources.uncounted(made) is None, "nobody has looked yet"
    dataset = open_dataset(sources.workspace, made)
    inspect(dataset, Silent())
    assert sources.uncounted(made) == "lab"
    inspect(dataset, Silent(), tokenizer=tokenizer_of(open_teacher(sources.workspace, "lab")))
    assert sources.uncounted(made) is None


def test_only_columns_that_a_person_chose_are_kept_for_reading_again(sources: DatasetSources, tmp_path: Path) -> None:
    text = "prompt,response\na,b\n"
    assert sources.mapping_of(imported(sources, tmp_path, text)) is None
    turned = {"prompt": "response", "response": "prompt"}
    kept = sources.mapping_of(imported(sources, tmp_path, text, mapping=Mapping(columns=turned)))
    assert kept is not None and kept.columns == turned
