from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reft_studio.data.index.inspect import inspect
from reft_studio.data.reading.readers import import_file
from reft_studio.data.rows.mapping import Mapping
from reft_studio.progress import Silent
from reft_studio.studio.row_query import RowFilter
from reft_studio.studio.studio import Studio
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


def test_rows_come_with_their_whole_chat_and_can_be_narrowed_by_a_facet(studio: Studio, tmp_path: Path) -> None:
    made = imported(studio, tmp_path, "prompt,response,origin\na?,b,left\nd?,e,right\n")
    page = studio.datasets.rows(made, RowFilter(facets=(("origin", "right"),), order="file"), offset=0, limit=5)
    assert page.total == 1 and json.loads(page.rows[0]["messages"])[0]["content"] == "d?"


def test_rows_that_repeat_each_other_are_shown_together(studio: Studio, tmp_path: Path) -> None:
    made = imported(studio, tmp_path, "prompt,response\na long question?,b\nother?,c\na long question?,b\n")
    from reft_studio.data.dataset import open_dataset

    inspect(open_dataset(studio.workspace, made), Silent())
    found = studio.datasets.inspection(made)
    assert found is not None and found.groups == [(0, 2)]
    page = studio.datasets.group(made, 2, offset=0, limit=6)
    assert page.total == 2 and [row["row_id"] for row in page.rows] == [0, 2] == studio.datasets.row_ids(made, [0, 2])


def test_rows_set_aside_can_be_saved_with_their_line(studio: Studio, tmp_path: Path) -> None:
    made = imported(studio, tmp_path, '{"prompt": "a?", "response": "b"}\n{"prompt": "c?"\n', "rows.jsonl")
    lines = [json.loads(line) for line in studio.datasets.set_aside_file(made).read_text("utf-8").splitlines()]
    assert [line["line"] for line in lines] == [2] and lines[0]["raw"].startswith('{"prompt": "c?"')
    assert len(studio.datasets.set_aside(made, limit=1)) == 1


def test_the_profile_is_counted_once(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = imported(studio, tmp_path, "prompt,response\na?,b\n")
    first = studio.datasets.profile(made)
    monkeypatch.setattr("reft_studio.data.index.inspect.profile", lambda _dataset: pytest.fail("counted again"))
    assert studio.datasets.profile(made) == first is not None


def test_tokens_are_counted_again_for_another_teacher_only(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from reft_studio.data.dataset import open_dataset
    from reft_studio.tasks import lab_data
    from reft_studio.tasks.inspect import tokenizer_of
    from reft_studio.teacher.teacher import open_teacher

    made = lab_data.sample(studio.workspace, rows=10).id
    monkeypatch.setattr("reft_studio.studio.project.chosen_scores", lambda *_args: SimpleNamespace(teacher="lab"))
    assert studio.datasets.uncounted(made) is None, "nobody has looked yet"
    dataset = open_dataset(studio.workspace, made)
    inspect(dataset, Silent())
    assert studio.datasets.uncounted(made) == "lab"
    inspect(dataset, Silent(), tokenizer=tokenizer_of(open_teacher(studio.workspace, "lab")))
    assert studio.datasets.uncounted(made) is None
