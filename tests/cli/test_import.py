"""`import` on the command line: folders of parts, and labels that must be explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_studio.cli import verbs
from reft_studio.data.dataset import list_datasets
from reft_studio.errors import SpecError
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace


def test_a_folder_of_parquet_parts_is_imported_as_one_dataset(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for place in range(2):
        pq.write_table(pa.table({"prompt": [f"{place}?"], "response": ["yes"]}), tmp_path / "set" / f"train-{place:05d}-of-00002.parquet")
    workspace = Workspace.open(tmp_path / "workspace")
    verbs.import_data(Studio(workspace), tmp_path / "set", name="both", role="user", columns=[])
    (made,) = list_datasets(workspace)
    assert (made.name, made.rows) == ("both", 2)


def test_shards_of_json_lines_are_imported_as_one_dataset(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for place in range(2):
        (tmp_path / "set" / f"train-{place:05d}-of-00002.jsonl").write_text(json.dumps({"prompt": f"{place}?", "response": "yes"}))
    workspace = Workspace.open(tmp_path / "workspace")
    verbs.import_data(Studio(workspace), tmp_path / "set", name="both", role="user", columns=[])
    (made,) = list_datasets(workspace)
    assert made.table(["prompt"]).column(0).to_pylist() == ["0?", "1?"]


def test_a_label_named_on_the_command_line_is_read_or_asked_about(tmp_path: Path) -> None:
    path, workspace = tmp_path / "a.csv", Workspace.open(tmp_path / "workspace")
    path.write_text("prompt,response,label\nWhy?,So.,0\nWho?,She.,1\n")
    wanted: dict[str, Any] = {"name": None, "role": "user", "columns": ["label=label"]}
    with pytest.raises(SpecError, match=r"0 \(1 row\), 1 \(1 row\).*--harmful-value"):
        verbs.import_data(Studio(workspace), path, **wanted)
    verbs.import_data(Studio(workspace), path, **wanted, harmful_values=["1"])
    (made,) = list_datasets(workspace)
    assert made.table(["known_harmful"]).column(0).to_pylist() == [False, True]
