from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from reft_studio.data import dataset as datasets
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.data.index import rowstore
from reft_studio.data.index.rowstore import row_store
from reft_studio.errors import PrerequisiteError, StoreError
from reft_studio.workspace import Workspace


@pytest.fixture
def dataset(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """100 rows with the ids 0, 3, 6, … in batches of 16."""
    monkeypatch.setattr(datasets, "BATCH", 16)
    monkeypatch.setattr(rowstore, "BUILD", 16)
    rows = [Row(row_id=3 * n, prompt=f"p{n}", response=f"r{n}", category=None if n % 2 else "c") for n in range(100)]
    return write_dataset(workspace, rows, name="n", role="user")


def _without_store(dataset: Dataset) -> Dataset:
    """As datasets were before there were stores."""
    for name in ("rows.arrow", "row_ids.npy", "rows.json"):
        (dataset.folder / name).unlink(missing_ok=True)
    return dataset


def test_rows_are_taken_by_position_in_the_order_asked_for(dataset: Dataset) -> None:
    store = row_store(dataset)
    assert store.rows == 100
    assert [row["prompt"] for row in store.take([99, 0, 16, 15, 0])] == ["p99", "p0", "p16", "p15", "p0"]
    assert store.take([1]) == [{"row_id": 3, "prompt": "p1", "response": "r1", "origin": "", "category": None, "known_harmful": None}]
    assert store.take([2], ["messages"])[0]["messages"].startswith("[{")
    assert store.take([]) == []
    for outside in (-1, 100):
        with pytest.raises(IndexError, match=r"0\.\.99"):
            store.take([outside])


def test_ids_become_positions_and_unknown_ids_minus_one(dataset: Dataset) -> None:
    store = row_store(dataset)
    assert store.positions([297, 0, 1, -5, 300, 48]).tolist() == [99, 0, -1, -1, -1, 16]
    assert store.positions(np.empty(0, np.int64)).tolist() == []
    assert isinstance(store.row_ids, np.memmap) and store.row_ids.dtype == np.int64
    assert store.row_ids.tolist() == list(range(0, 300, 3))


def test_ids_that_do_not_ascend_are_found_too(workspace: Workspace) -> None:
    rows = [Row(row_id=row_id, prompt=str(row_id), response="r") for row_id in (5, 2, 9, 0)]
    store = row_store(write_dataset(workspace, rows, name="n", role="user"))
    assert store.positions([0, 9, 5, 2, 1]).tolist() == [3, 2, 0, 1, -1]
    assert [row["prompt"] for row in store.take(store.positions([0, 9]))] == ["0", "9"]


def test_batches_give_all_rows_in_order(dataset: Dataset) -> None:
    found = [text for batch in row_store(dataset).batches(["prompt"]) for text in batch.column("prompt").to_pylist()]
    assert found == [f"p{n}" for n in range(100)]


def test_a_dataset_without_store_gets_one_when_it_is_opened(dataset: Dataset) -> None:
    before = row_store(dataset).take(range(100))
    rowstore._opened.cache_clear()
    again = row_store(_without_store(dataset))
    assert again.take(range(100)) == before
    assert {"rows.arrow", "row_ids.npy", "rows.json"} <= {path.name for path in dataset.folder.iterdir()}
    assert not list(dataset.folder.glob("*.tmp-*"))


def test_many_threads_open_one_store(dataset: Dataset) -> None:
    rowstore._opened.cache_clear()
    _without_store(dataset)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda place: row_store(dataset).take([place])[0]["row_id"], range(100)))
    assert found == list(range(0, 300, 3))


@pytest.mark.parametrize("name", ["rows.arrow", "row_ids.npy", "rows.json"])
def test_a_store_that_was_cut_off_is_made_again(name: str, dataset: Dataset) -> None:
    rowstore._opened.cache_clear()
    row_store(dataset)
    rowstore._opened.cache_clear()
    os.truncate(dataset.folder / name, (dataset.folder / name).stat().st_size // 2)
    assert row_store(dataset).take([99])[0]["prompt"] == "p99"


def test_damaged_rows_are_said_to_be_damaged(dataset: Dataset) -> None:
    row_store(dataset)
    dataset.path.write_bytes(b"PAR1 damaged")
    with pytest.raises(StoreError, match="damaged"):
        row_store(dataset)
    dataset.path.unlink()
    with pytest.raises(StoreError, match="damaged"):
        row_store(dataset)


def test_a_damaged_part_of_a_file_too_large_to_be_hashed_first_is_said_when_a_row_of_it_is_asked_for(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rowstore, "damages", lambda *_: [])  # not known yet
    whole = (dataset.folder / "rows.arrow").read_bytes()
    middle = len(whole) // 2
    (dataset.folder / "rows.arrow").write_bytes(whole[:middle] + b"\0" * 2048 + whole[middle + 2048 :])
    store = row_store(dataset)
    assert store.take([0])[0]["prompt"] == "p0"
    with pytest.raises(StoreError, match="damaged"):
        store.take(range(100), ["prompt", "messages"])


def test_where_nothing_can_be_written_a_small_store_is_held_in_memory(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_dataset: Dataset) -> None:
        raise PrerequisiteError("read only")

    rowstore._opened.cache_clear()
    _without_store(dataset)
    monkeypatch.setattr(rowstore, "_build", refuse)
    assert row_store(dataset).take([99])[0]["row_id"] == 297
    assert not (dataset.folder / "rows.arrow").exists()
    rowstore._opened.cache_clear()
    monkeypatch.setattr(rowstore, "IN_MEMORY", 50)
    with pytest.raises(PrerequisiteError):
        row_store(dataset)


def test_the_shipped_example_can_be_opened(tmp_path: Path) -> None:
    from reft_studio.studio.example import available, load

    if not available():
        pytest.skip("The example does not ship with this checkout.")
    workspace = Workspace.open(tmp_path)
    opened = datasets.open_dataset(workspace, load(workspace))
    assert row_store(opened).rows == opened.rows
