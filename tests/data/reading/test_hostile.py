"""Files made to exhaust or to crash: a clear answer in bounded time and memory, and nothing half-written."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reft_studio.data.dataset import list_datasets
from reft_studio.data.formats.parquet_rows import check_parquet, row_bytes
from reft_studio.data.reading.readers import import_file, preview
from reft_studio.data.writing.export import export_kept
from reft_studio.errors import DataError, StudioError
from reft_studio.workspace import Workspace

Upload = Callable[..., Path]
OK = b'{"prompt":"a","response":"b"}\n'


def _read(workspace: Workspace, path: Path) -> tuple[int, int]:
    """Usable rows and rows set aside."""
    preview(path)
    report = import_file(workspace, path)
    return report.rows, report.quarantined


@pytest.mark.parametrize(
    ("content", "rows", "set_aside"),
    [
        (OK + b'{"prompt":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n" + OK, 2, 1),
        (OK + b'{"messages":[{"role":"user","content":"a","x":' + b"[" * 900 + b"]" * 900 + b"}]}\n" + OK, 2, 1),
        (b"[" + OK + b',{"x":' + b"[" * 5000 + b"]" * 5000 + b"}," + OK + b"]", 2, 1),
        (OK + b'{"prompt":' + b"9" * 5000 + b',"response":"x"}\n', 1, 1),
        (OK + b'{"prompt":' + b"9" * 4000 + b',"response":1e999}\n', 2, 0),
        (OK + b'{"prompt":"' + b"x" * 9_000_000 + b'","response":"y"}\n' + OK, 2, 1),
        (b"[" + OK + b',{"prompt":"' + b"x" * 9_000_000 + b'","response":"y"},' + OK + b"]", 2, 1),
        (b'prompt,response\na,b\n"' + b"x" * 9_000_000 + b'",y\nc,d\n', 2, 1),
        (OK + b"\0\0\0\n" + OK, 2, 0),
        (OK + b'{"prompt":"\xed\xa0\x80","response":"y"}\n' + OK, 2, 1),
        (OK * 3 + b'{"prompt":"\\ud800","response":"\\udfff"}\n', 4, 0),
    ],
    ids=[
        "deep",
        "deep turn",
        "deep in list",
        "huge int",
        "big int",
        "long line",
        "long element",
        "long cell",
        "NUL",
        "CESU",
        "surrogate",
    ],
)
def test_one_hostile_row_costs_one_row(content: bytes, rows: int, set_aside: int, workspace: Workspace, upload: Upload) -> None:
    assert _read(workspace, upload(content)) == (rows, set_aside)


def test_an_open_quote_stops_after_a_reasonable_number_of_lines(
    workspace: Workspace, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reft_studio.data.formats.csv_records.MAX_RECORD_LINES", 50)
    assert _read(workspace, upload(b'prompt,response\na,b\n"c,d\n' + b"e,f\n" * 100 + b"g,h\n")) == (102, 1)


def test_open_quotes_on_every_line_do_not_take_forever(workspace: Workspace, upload: Upload) -> None:
    rows, set_aside = _read(workspace, upload(b"prompt,response\na,b\n" + b'c,"d "" e\n' * 2001))
    assert rows >= 1
    assert set_aside >= 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 200_000, "row 1: the file ends inside this row"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"\0" * 100_000, "binary file"),
        (b"[]", "has no row"),
        (b"{}", "no column is recognised"),
        (b"[1]\n[2]\n", "no objects with named parts"),
        (b"PAR1", "no readable Parquet file"),
        (b"PAR1" + bytes(range(256)) * 4 + b"PAR1", "no readable Parquet file"),
        (b"<html><body>502 Bad Gateway</body></html>\n" * 3, r"is a web page \(HTML\)"),
        ((",".join(f"c{n}" for n in range(50_000)) + "\nx").encode(), "more than 2000 columns"),
    ],
)
def test_a_hostile_file_is_refused_in_words(content: bytes, message: str, workspace: Workspace, upload: Upload) -> None:
    path = upload(content)
    with pytest.raises(DataError, match=message) as caught:
        import_file(workspace, path)
    assert path.name in str(caught.value)
    assert not list((workspace.root / "datasets").glob("*"))


def _repeated(text: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([text]))


@pytest.mark.parametrize(("length", "count"), [(1000, 2_000_000), (20_000_000, 200)], ids=["many rows", "long texts"])
def test_a_small_file_that_unpacks_to_gigabytes_is_stopped_before_it_does(
    length: int, count: int, workspace: Workspace, tmp_path: Path
) -> None:
    bomb = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"prompt": _repeated("A" * length, count), "response": _repeated("B", count)}), bomb, compression="zstd")
    assert bomb.stat().st_size < 1_000_000
    before = pa.total_allocated_bytes()
    with pytest.raises(DataError, match="exhaust the memory"):
        import_file(workspace, bomb)
    assert pa.total_allocated_bytes() - before < 1 << 28
    assert not list((workspace.root / "datasets").glob("*"))


def test_a_bomb_of_nested_texts_is_stopped(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reft_studio.data.formats.parquet_rows.FLOOR_BYTES", 10 << 20)
    bomb = tmp_path / "bomb.parquet"
    turns = [{"role": "user", "content": "C" * 1_000_000}, {"role": "assistant", "content": "y"}]
    pq.write_table(pa.table({"messages": [turns] * 30}), bomb, compression="zstd")
    with pytest.raises(DataError, match="exhaust the memory"):
        import_file(workspace, bomb)


def test_a_parquet_row_that_is_too_long_is_set_aside(workspace: Workspace, tmp_path: Path) -> None:
    table = pa.table({"prompt": ["a", "x" * 9_000_000, "c"], "response": ["b", "b", "b"]})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert _read(workspace, tmp_path / "a.parquet") == (2, 1)


def test_too_many_parquet_columns_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    pq.write_table(pa.table({f"c{number}": [1] for number in range(2001)}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="2001 columns; at most 2000"):
        import_file(workspace, tmp_path / "a.parquet")


def test_turns_may_carry_dates_and_bytes(workspace: Workspace, tmp_path: Path) -> None:
    when = datetime(2024, 1, 2, tzinfo=UTC)
    turns = [{"role": "user", "content": "q", "at": when, "raw": b"\xff"}, {"role": "assistant", "content": "a", "at": None, "raw": None}]
    pq.write_table(pa.table({"messages": [turns]}), tmp_path / "a.parquet")
    assert _read(workspace, tmp_path / "a.parquet") == (1, 0)
    (row,) = list_datasets(workspace)[0].read()
    assert json.loads(row["messages"])[0]["at"] == "2024-01-02 00:00:00+00:00"


def test_sizes_of_rows_are_known_without_reading_them() -> None:
    turns = [[{"role": "user", "content": "abc"}], None, [], [{"role": "u", "content": None}, {"role": "u", "content": "de"}]]
    batch = pa.record_batch(
        {
            "text": ["ab", None, "é", ""],
            "category": pa.array(["x" * 10, None, "y", "x" * 10]).dictionary_encode(),
            "messages": turns,
            "tags": [["a", "bc"], [], None, ["d"]],
            "n": [1, 2, 3, 4],
        }
    )
    expected = [2 + 10 + 7 + 3 + 8, 8, 2 + 1 + 8, 10 + 4 + 1 + 8]
    assert row_bytes(batch).tolist() == expected
    assert row_bytes(batch.slice(2, 2)).tolist() == expected[2:]


def test_binary_columns_are_text_if_they_are_utf8(workspace: Workspace, tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": pa.array(["é".encode(), b"\xff"], pa.binary()), "response": ["a", "b"]}), tmp_path / "a.parquet")
    assert _read(workspace, tmp_path / "a.parquet") == (1, 1)
    assert check_parquet(tmp_path / "a.parquet") == 2


@pytest.mark.parametrize("document", ['{"data": [{"prompt": "a", "response": "b"}]}', '[{"prompt": "a"}, {}]'], ids=["wrapped", "list"])
def test_a_json_document_cut_off_anywhere_is_read_or_refused_in_words(document: str, workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    for length in range(1, len(document)):
        path.write_text(document[:length], "utf-8")
        try:
            preview(path)
            import_file(workspace, path)
        except StudioError as error:
            assert "Traceback" not in str(error) and str(error)


@pytest.mark.parametrize("seed", range(3))
def test_damaged_parquet_bytes_never_crash(seed: int, workspace: Workspace, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "abc " * 20}, {"role": "assistant", "content": "def"}]
    pq.write_table(pa.table({"messages": [turns] * 50, "category": ["x"] * 50}), tmp_path / "good.parquet", compression="zstd")
    good, chance = (tmp_path / "good.parquet").read_bytes(), random.Random(seed)
    for _ in range(15):
        damaged = bytearray(good)
        for _ in range(chance.choice([1, 3, 20])):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        (tmp_path / "bad.parquet").write_bytes(damaged)
        try:
            _read(workspace, tmp_path / "bad.parquet")
        except StudioError as exc:
            assert "bad.parquet" in str(exc)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "text", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
_ROW = st.dictionaries(
    st.sampled_from(
        ["prompt", "response", "messages", "conversations", "instruction", "output", "input", "text", "label", "category", "history"]
    ),
    _JSON,
    max_size=5,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=st.lists(_ROW | _JSON, min_size=1, max_size=6), role=st.sampled_from(["user", "harmful"]))
def test_any_rows_are_imported_or_refused_and_counted(rows: list[Any], role: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    workspace, path = Workspace.open(folder / "w"), folder / "a.jsonl"
    rows = [{"prompt": "a", "response": "b"}] * 2 + rows
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        preview(path)
        report = import_file(workspace, path, role=role)
    except DataError as exc:
        assert "a.jsonl" in str(exc)
        assert not list((workspace.root / "datasets").glob("*"))
        return
    (dataset,) = list_datasets(workspace, role)
    assert report.rows == dataset.rows
    assert report.rows + report.quarantined == len(rows)
    exported = export_kept(dataset, lambda _: True, folder / "out").read_text().splitlines()
    assert len(exported) == report.rows


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    head=st.sampled_from([b"", b'{"', b'[{"prompt":', b"prompt,response\n", b"\xff\xfe", b"PAR1", b"\xef\xbb\xbf[", b'{"data":[']),
)
def test_any_bytes_are_imported_or_refused(data: st.DataObject, head: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    path = folder / "a.bin"
    alphabet = st.sampled_from([*b'{}[]",:\n\\ab\0\xff\xc3\xa9 1;\t\r'])
    path.write_bytes(head + bytes(data.draw(st.lists(alphabet, max_size=60) | st.binary(max_size=60))))
    for read in (preview, lambda file: import_file(Workspace.open(folder / "w"), file)):
        try:
            read(path)
        except DataError as exc:
            assert "a.bin" in str(exc)


@pytest.mark.parametrize("content", [b"\x0b", b"\x0c\n\x0b\n", b"\xef\xbb\xbf\x1c"])
def test_a_file_of_unusual_blanks_is_refused_as_blank(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.csv"):
        preview(path)
