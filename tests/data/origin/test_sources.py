from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_studio.data.origin.sources import HEAD, gather, head, local, tables
from reft_studio.data.reading.readers import import_file, preview
from reft_studio.errors import DataError
from reft_studio.workspace import Workspace


def silent(_done: int, _total: int) -> None:
    return None


def rows(count: int, start: int = 0) -> pa.Table:
    numbers = range(start, start + count)
    return pa.table({"prompt": [f"Question {n}?" for n in numbers], "response": [f"Answer {n}." for n in numbers]})


def saved(folder: Path, *parts: pa.Table) -> Path:
    """A folder as `Dataset.save_to_disk` leaves it, with a cache of an earlier step beside the data."""
    folder.mkdir(parents=True)
    names = [f"data-{place:05d}-of-{len(parts):05d}.arrow" for place in range(len(parts))]
    for name, table in zip([*names, "cache-1234.arrow"], [*parts, rows(1, 99)], strict=True):
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names], "_split": "train"}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_a_save_to_disk_folder_is_read_without_its_caches(tmp_path: Path, workspace: Workspace) -> None:
    source = local(str(saved(tmp_path / "chats", rows(3), rows(2, 3))))
    (part,) = source.parts
    assert (part.kind, part.rows, len(part.files)) == ("arrow", 5, 2)
    made = gather([Path(file) for file in part.files], part.kind, tmp_path / "all.parquet", silent)
    report = import_file(workspace, made)
    assert (report.rows, report.quarantined) == (5, 0)


def test_a_dataset_dict_has_a_part_for_each_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        saved(tmp_path / "both" / split, rows(2))
    (tmp_path / "both" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert [part.name for part in local(str(tmp_path / "both")).parts] == ["train", "test"]


def test_numbers_that_stand_for_labels_become_the_labels(tmp_path: Path) -> None:
    features = {"info": {"features": {"label": {"names": ["benign", "harmful"], "_type": "ClassLabel"}}}}
    table = rows(3).append_column("label", pa.array([1, 0, -1])).replace_schema_metadata({"huggingface": json.dumps(features)})
    (part,) = local(str(saved(tmp_path / "labelled", table))).parts
    made = gather([Path(part.files[0])], "arrow", tmp_path / "all.parquet", silent)
    assert pq.read_table(made)["label"].to_pylist() == ["harmful", "benign", None]


def test_parts_of_a_parquet_table_belong_together_and_come_in_order(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for place in (1, 0):
        pq.write_table(rows(2, 2 * place), tmp_path / "data" / f"train-{place:05d}-of-00002.parquet")
    pq.write_table(rows(1, 9), tmp_path / "data" / "test-00000-of-00001.parquet")
    (tmp_path / "README.md").write_text("no rows")
    train, test = local(str(tmp_path)).parts
    assert (train.name, len(train.files), test.name) == ("train", 2, "test")
    made = gather([Path(file) for file in train.files], "parquet", tmp_path / "all.parquet", silent)
    assert pq.read_table(made)["prompt"].to_pylist() == [f"Question {n}?" for n in range(4)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["default/train/0000.parquet", "default/train/0001.parquet"], {"default/train": 2}),
        (["train.jsonl", "test.jsonl", "dataset_info.json", "README.md"], {"train.jsonl": 1, "test.jsonl": 1}),
        (["part-00000.parquet", "part-00001-abc.snappy.parquet"], {"all": 2}),
        (["b.csv", "train.csv", "a.csv"], {"train.csv": 1, "a.csv": 1, "b.csv": 1}),
    ],
)
def test_files_are_put_together_by_their_names(names: list[str], expected: dict[str, int]) -> None:
    found = tables((name, 1) for name in names)
    assert {part.name: len(part.files) for part in found} == expected
    assert [part.name for part in found] == list(expected)


def test_one_file_is_used_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text('{"prompt": "a", "response": "b"}\n')
    (part,) = local(str(path)).parts
    assert gather([path], part.kind, tmp_path / "x", silent) == head([path], part.kind, tmp_path / "x") == path


def test_only_the_first_rows_are_written_to_look_at_a_large_table(tmp_path: Path) -> None:
    (part,) = local(str(saved(tmp_path / "large", rows(HEAD), rows(HEAD)))).parts
    path = head([Path(file) for file in part.files], part.kind, tmp_path / "head.parquet")
    assert pq.read_metadata(path).num_rows == HEAD and preview(path).confidence > 0.5


def test_parts_with_other_columns_are_refused_by_name(tmp_path: Path) -> None:
    a, b = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(rows(1), a)
    pq.write_table(rows(1).append_column("extra", pa.array([1])), b)
    with pytest.raises(DataError, match=r"b\.parquet has other columns .*\(extra\)"):
        gather([a, b], "parquet", tmp_path / "all.parquet", silent)


@pytest.mark.parametrize("what", ["cut", "missing", "nothing", "nowhere"])
def test_what_cannot_be_read_is_said_in_words(tmp_path: Path, what: str) -> None:
    folder = saved(tmp_path / "chats", rows(3))
    data = folder / "data-00000-of-00001.arrow"
    if what == "cut":
        data.write_bytes(data.read_bytes()[:300])
    elif what == "missing":
        data.unlink()
    else:
        folder = tmp_path / what
        (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match=r"cut off|is missing|holds no dataset|There is no file or folder"):
        local(str(folder))


def test_a_name_in_the_state_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    secret: dict[str, Any] = {"_data_files": [{"filename": "../../secret.arrow"}]}
    folder = saved(tmp_path / "chats", rows(1))
    (folder / "state.json").write_text(json.dumps(secret))
    with pytest.raises(DataError, match=r"secret\.arrow is missing"):
        local(str(folder))


def test_cancelling_stops_between_batches(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, _total: int) -> None:
        if done:
            raise Stop

    (part,) = local(str(saved(tmp_path / "chats", rows(3), rows(3)))).parts
    with pytest.raises(Stop):
        gather([Path(file) for file in part.files], part.kind, tmp_path / "all.parquet", stop)


def test_a_relative_path_is_a_path_of_this_machine_and_an_address_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.jsonl").write_text('{"prompt": "a", "response": "b"}\n', "utf-8")
    monkeypatch.chdir(tmp_path / "rows")
    for text in ("a.jsonl", "../rows/a.jsonl"):
        assert local(text).parts[0].files == (str(tmp_path / "rows" / "a.jsonl"),)
    with pytest.raises(DataError, match="Addresses of the web"):
        local("https://example.org/a.jsonl")
