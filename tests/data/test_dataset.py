from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from reft_studio.data.dataset import Dataset, Row, is_intact, list_datasets, open_dataset, write_dataset
from reft_studio.errors import DataError, StoreError
from reft_studio.fingerprint import canonical_json
from reft_studio.workspace import Workspace

ROWS = [Row(prompt="a", response="b"), Row(prompt="c", response="d", origin="o", category="k", known_harmful=True)]


def test_what_is_written_is_read_again(workspace: Workspace) -> None:
    dataset = write_dataset(workspace, ROWS, name="n", role="user", extra={"made_by": "hand"})
    opened = open_dataset(workspace, dataset.id)
    assert (opened, opened.rows, opened.manifest["made_by"]) == (dataset, 2, "hand")
    first, second = opened.read()
    assert (first["row_id"], first["prompt"], first["origin"], first["known_harmful"]) == (0, "a", "", None)
    assert json.loads(first["messages"]) == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert (second["row_id"], second["category"], second["known_harmful"]) == (1, "k", True)


def test_the_id_depends_on_rows_order_role_and_salt(workspace: Workspace) -> None:
    ids = {
        write_dataset(workspace, ROWS, name="one", role="user").id,
        write_dataset(workspace, ROWS, name="same rows, other name", role="user").id,
        write_dataset(workspace, ROWS[::-1], name="n", role="user").id,
        write_dataset(workspace, ROWS, name="n", role="harmful").id,
        write_dataset(workspace, ROWS, name="n", role="user", salt="x").id,
    }
    assert len(ids) == 4
    assert len(list_datasets(workspace)) == 4
    assert [dataset.role for dataset in list_datasets(workspace, "harmful")] == ["harmful"]


def test_lone_surrogates_become_replacement_characters(workspace: Workspace) -> None:
    row = Row(prompt="\ud800a", response="b\udfff", category="\ud800", messages=[{"role": "user", "content": "\ud800a"}])
    (found,) = write_dataset(workspace, [row], name="n", role="user").read()
    assert (found["prompt"], found["response"], found["category"]) == ("\ufffda", "b\ufffd", "\ufffd")
    assert "\ufffda" in found["messages"]


def test_a_changed_row_breaks_the_fingerprint(workspace: Workspace) -> None:
    dataset = write_dataset(workspace, ROWS, name="n", role="user", salt="s")
    other = write_dataset(workspace, [ROWS[0], Row(prompt="c", response="e")], name="n", role="user")
    assert is_intact(dataset)
    dataset.path.write_bytes(other.path.read_bytes())
    assert not is_intact(dataset)
    dataset.path.write_bytes(b"damaged")
    assert not is_intact(dataset)


def test_files_are_attached_before_the_dataset_appears(workspace: Workspace) -> None:
    def attach(folder: Path) -> None:
        assert list_datasets(workspace) == []
        (folder / "note").write_text("here")

    assert (write_dataset(workspace, ROWS, name="n", role="user", attach=attach).folder / "note").read_text() == "here"


def test_a_failure_on_the_way_leaves_nothing(workspace: Workspace) -> None:
    def rows() -> object:
        yield ROWS[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_dataset(workspace, rows(), name="n", role="user")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no usable row"):
        write_dataset(workspace, [], name="n", role="user")
    with pytest.raises(DataError, match="user, harmful, helpful, benchmark"):
        write_dataset(workspace, ROWS, name="n", role="alignment")  # type: ignore[arg-type]
    assert not list((workspace.root / "datasets").iterdir())


def test_a_dataset_that_is_not_there_is_named(workspace: Workspace) -> None:
    with pytest.raises(StoreError, match="no dataset 'abc'"):
        open_dataset(workspace, "abc")
    with pytest.raises(StoreError, match="is not an id"):
        open_dataset(workspace, "../abc")
    assert isinstance(write_dataset(workspace, ROWS, name="n", role="user"), Dataset)


def test_a_changed_copy_for_random_access_breaks_the_fingerprint(workspace: Workspace) -> None:
    dataset = write_dataset(workspace, ROWS, name="n", role="user")
    other = write_dataset(workspace, [ROWS[0], Row(prompt="c", response="e")], name="n", role="user")
    assert dataset.manifest["fingerprint_of"] == "columns"
    (dataset.folder / "rows.arrow").write_bytes((other.folder / "rows.arrow").read_bytes())
    assert not is_intact(dataset)


def test_a_dataset_with_a_fingerprint_of_each_row_is_still_checked(workspace: Workspace) -> None:
    dataset = write_dataset(workspace, ROWS, name="n", role="user")
    digest = hashlib.sha256(f"user\n{dataset.manifest.get('salt', '')}\n".encode())
    for record in dataset.read():
        digest.update(canonical_json(record).encode("ascii"))
    for value, intact in ((digest.hexdigest(), True), ("0" * 64, False)):
        manifest = {**dataset.manifest, "fingerprint": value}  # as versions wrote it that hashed row by row
        del manifest["fingerprint_of"]
        assert is_intact(replace(dataset, manifest=manifest, fingerprint=value)) is intact


def test_two_that_write_the_same_rows_at_once_give_one_dataset(workspace: Workspace) -> None:
    def slower(folder: Path) -> None:
        write_dataset(workspace, ROWS, name="faster", role="user")

    assert write_dataset(workspace, ROWS, name="slower", role="user", attach=slower).name == "faster"
    assert [path.name for path in (workspace.root / "datasets").iterdir()] == [dataset.id for dataset in list_datasets(workspace)]
