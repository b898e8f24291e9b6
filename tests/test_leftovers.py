"""What an interrupted write leaves is gone at the next start, and nothing else is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reft_studio.errors import PrerequisiteError
from reft_studio.workspace import Workspace, new_folder, publish, staging, write_atomic

GONE = 2**22 + 1  # no process has this number


def test_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "runs", tmp_path / "scores" / "d1", tmp_path / "scores" / "d1" / "k1"):
        (place / f"new.tmp-{GONE}-0123abcd").mkdir(parents=True)
        (place / f"scorer.json.tmp-{GONE}-0123abcd").write_text("half")
    Workspace.open(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if ".tmp-" in path.name] == []


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    with staging(tmp_path / "runs") as building:
        Workspace.open(tmp_path)
        assert building.is_dir()


def test_a_folder_that_was_being_replaced_gets_its_name_back(tmp_path: Path) -> None:
    retired = tmp_path / "runs" / f"r1.tmp-{GONE}-0123abcd"
    retired.mkdir(parents=True)
    (retired / "spec.json").write_text("old")
    Workspace.open(tmp_path)
    assert (tmp_path / "runs" / "r1" / "spec.json").read_text() == "old"


def test_the_replaced_one_goes_where_the_new_one_is_in_place(tmp_path: Path) -> None:
    for name, text in (("r1", "new"), (f"r1.tmp-{GONE}-0123abcd", "old")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "spec.json").write_text(text)
    Workspace.open(tmp_path)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["r1"]
    assert (tmp_path / "runs" / "r1" / "spec.json").read_text() == "new"


def test_names_that_only_look_temporary_stay(tmp_path: Path) -> None:
    kept = tmp_path / "datasets" / "d1" / "original" / "notes.tmp-1-final.jsonl"
    write_atomic(kept, "row")
    Workspace.open(tmp_path)
    assert kept.read_text() == "row"


def test_a_folder_is_published_whole_or_not_at_all(tmp_path: Path) -> None:
    final = tmp_path / "runs" / "r1"
    with pytest.raises(KeyError), new_folder(final) as building:
        (building / "a").write_text("half")
        raise KeyError
    assert [*final.parent.iterdir()] == []
    with pytest.raises(PrerequisiteError, match="Nothing was changed"), staging(final.parent) as building:
        raise OSError(28, os.strerror(28))
    with staging(final.parent) as building:
        publish(building, final)
    assert [path.name for path in final.parent.iterdir()] == ["r1"]
