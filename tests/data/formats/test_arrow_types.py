"""Files with columns of every Arrow type: imported, previewed and exported, whether or not anybody needs the column."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from reft_studio.data.dataset import open_dataset
from reft_studio.data.formats.arrow_types import filtered, rows_of, storable, text_bytes
from reft_studio.data.reading.readers import import_file, preview
from reft_studio.data.writing.export import export_kept
from reft_studio.workspace import Workspace

ROWS = 4
_D = [Decimal("1.10"), None, Decimal("2.00"), Decimal("0.50")]
_LISTS = [["a", "bb"], None, [], ["c" * 30]]
_TEXTS = ["a", "b" * 40, None, ""]
_NUMBERS = [1, None, 2, 3]
PLAIN: dict[str, tuple[pa.DataType, list[Any]]] = {
    **{str(kind): (kind, _NUMBERS) for kind in (pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.time32("s"), pa.time64("ns"))},
    **{str(kind): (kind, _NUMBERS) for kind in (pa.duration("ns"), pa.duration("s"), pa.timestamp("ns"), pa.timestamp("us", "UTC"))},
    "unknown time zone": (pa.timestamp("us", "Mars/Olympus"), _NUMBERS),
    "date in the year 2,900,000": (pa.date32(), [2**30, None, 1, 2]),
    "moment beyond Python": (pa.timestamp("ms"), [2**58, None, 1, 2]),
    "date64": (pa.date64(), [datetime.date(2020, 1, 1), None, None, None]),
    "bool": (pa.bool_(), [True, None, False, True]),
    "null": (pa.null(), [None] * ROWS),
    **{str(kind): (kind, _D) for kind in (pa.decimal32(5, 2), pa.decimal64(9, 2), pa.decimal128(5, 2), pa.decimal256(50, 2))},
    **{str(kind): (kind, _TEXTS) for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()))},
    **{str(kind): (kind, [b"a", None, b"\xff", b""]) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())},
    "fixed bytes": (pa.binary(3), [b"abc", None, b"abd", b"abe"]),
    **{str(kind): (kind, _LISTS) for kind in (pa.list_(pa.string()), pa.large_list(pa.string()))},
    **{str(kind): (kind, _LISTS) for kind in (pa.list_view(pa.string()), pa.large_list_view(pa.string()))},
    "fixed list": (pa.list_(pa.string(), 2), [["a", "b"], None, ["c", "d"], ["e", None]]),
    "list of views": (pa.list_(pa.string_view()), _LISTS),
    "map": (pa.map_(pa.string(), pa.string()), [[("k", "v" * 9)], None, [], [("a", "b"), ("c", None)]]),
    "map of lists": (pa.map_(pa.string(), pa.list_(pa.string())), [[("k", ["v"])], None, [], [("a", [])]]),
    "struct": (pa.struct([("x", pa.string()), ("y", pa.map_(pa.string(), pa.int32()))]), [{"x": "a", "y": [("k", 1)]}, None, {}, {}]),
    "interval": (pa.month_day_nano_interval(), [(1, 2, 3), None, (0, 0, 0), (0, 1, 0)]),
}


def _storage(kind: pa.DataType, values: list[Any], storage: pa.DataType) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, pa.array(values, storage))


def special() -> dict[str, pa.Array]:
    """Arrays that are not made from a list of values."""
    kinds = pa.array([0, 1, 0, 1], pa.int8())
    return {
        "run ends": pa.RunEndEncodedArray.from_arrays(pa.array([1, 3, 4], pa.int32()), pa.array(["a", None, "ccc"])),
        "sparse union": pa.UnionArray.from_sparse(kinds, [pa.array([1, 2, 3, 4]), pa.array(["a", "b", "c", "d"])]),
        "dense union": pa.UnionArray.from_dense(kinds, pa.array([0, 0, 1, 1], pa.int32()), [pa.array([1, 2]), pa.array(["a", None])]),
        "uuid": _storage(pa.uuid(), [b"0" * 16, None, b"1" * 16, b"2" * 16], pa.binary(16)),
        "json": _storage(pa.json_(pa.string()), ["1", "{}", None, "[]"], pa.string()),
        "bool8": _storage(pa.bool8(), [0, 1, None, 1], pa.int8()),
        "opaque": _storage(pa.opaque(pa.string(), "kind", "vendor"), ["0", "1", None, ""], pa.string()),
        "tensor": _storage(pa.fixed_shape_tensor(pa.int32(), [2]), [[1, 2]] * ROWS, pa.list_(pa.int32(), 2)),
        "dictionary of dictionaries": pa.DictionaryArray.from_arrays([0, 1, None, 0], pa.array([["a"], ["b", "c"]])),
        "list of unions": pa.ListArray.from_arrays(
            [0, 1, 2, 2, 4], pa.UnionArray.from_sparse(kinds, [pa.array([1, 2, 3, 4]), pa.array(["a", "b", "c", "d"])])
        ),
    }


def columns() -> dict[str, pa.Array]:
    return {name: pa.array(values, kind) for name, (kind, values) in PLAIN.items()} | special()


def table_with(column: pa.Array) -> pa.Table:
    prompts = pa.array([f"Question {place}?" for place in range(ROWS)])
    answers = pa.array([f"Answer {place}." for place in range(ROWS)])
    return pa.table({"prompt": prompts, "response": answers, "extra": column})


def _in_parquet(column: pa.Array) -> bool:
    try:
        pq.write_table(pa.table({"x": column}), pa.BufferOutputStream())
    except pa.ArrowNotImplementedError:
        return False
    return True


EVERY = sorted(columns())
IN_PARQUET = [name for name in EVERY if _in_parquet(columns()[name])]


def test_most_types_can_be_in_parquet() -> None:
    assert len(IN_PARQUET) >= len(EVERY) - 6 >= 35


@pytest.mark.parametrize("name", IN_PARQUET)
def test_a_parquet_file_with_any_type_is_read_and_written(name: str, workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table_with(columns()[name]), path)
    seen = preview(path)
    assert (len(seen.rows), seen.problems, seen.columns) == (ROWS, [], ["prompt", "response", "extra"])
    report = import_file(workspace, path)
    assert (report.rows, report.quarantined) == (ROWS, 0)
    target = export_kept(open_dataset(workspace, report.dataset_id), [0, 2, 3], tmp_path / "out.parquet")
    kept = pq.read_table(target)
    assert kept.schema.equals(pq.read_schema(path), check_metadata=True)
    assert kept["prompt"].to_pylist() == ["Question 0?", "Question 2?", "Question 3?"]


@pytest.mark.parametrize("name", EVERY)
def test_sizes_and_values_of_any_type_are_known_of_a_slice_too(name: str) -> None:
    column = columns()[name]
    whole = text_bytes(column).tolist()
    assert len(whole) == ROWS and min(whole) >= 0
    assert text_bytes(column.slice(1, 2)).tolist() == whole[1:3]
    rows = rows_of(pa.record_batch([column], names=["x"]))
    assert rows is not None and len(rows) == ROWS
    json.dumps(rows, default=str)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("map", [10, 0, 0, 3]), ("string_view", [1, 40, 0, 0]), ("list_view<item: string>", [3, 0, 0, 30]), ("run ends", [1, 0, 0, 3])],
)
def test_text_in_rare_types_is_measured_to_the_byte(name: str, sizes: list[int]) -> None:
    assert text_bytes(columns()[name]).tolist() == sizes


@pytest.mark.parametrize("name", EVERY)
def test_rows_of_any_type_are_filtered_and_made_storable(name: str) -> None:
    batch = pa.record_batch([columns()[name]], names=["x"])
    kept = filtered(batch, pa.array([True, False, True, True]))
    values = rows_of(batch)
    assert values is not None
    assert [rows_of(part) for part in kept.combine_chunks().to_batches()] == [[values[0], values[2], values[3]]] or kept.num_rows == 3
    pq.write_table(pa.Table.from_batches([storable(batch)]), pa.BufferOutputStream())


def test_what_parquet_has_no_type_for_is_written_as_text() -> None:
    batch = pa.record_batch([columns()["sparse union"]], names=["x"])
    assert storable(batch).column(0).to_pylist() == ["1", '"b"', "3", '"d"']
