"""A lone Arrow file: a stream or a file, read, written, damaged, and made to exhaust the memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest

from reft_studio.data.dataset import open_dataset
from reft_studio.data.formats.arrow_messages import unpacked_sizes
from reft_studio.data.formats.arrow_rows import arrow_batches
from reft_studio.data.formats.arrow_types import text_bytes
from reft_studio.data.reading.readers import import_file, preview
from reft_studio.data.writing.export import export_kept
from reft_studio.errors import DataError
from reft_studio.workspace import Workspace


def _cleaned(workspace: Workspace, path: Path, target: Path, keep: Callable[[int], bool]) -> bytes:
    dataset = open_dataset(workspace, import_file(workspace, path).dataset_id)
    return export_kept(dataset, keep, target).read_bytes()


def _arrow(path: Path, *, stream: bool, rows: int = 3) -> Path:
    table = pa.table({"prompt": [f"Q{n}?" for n in range(rows)], "response": ["A."] * rows, "n": list(range(rows))})
    with path.open("wb") as out, (pa.ipc.new_stream if stream else pa.ipc.new_file)(out, table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", ["data-00000-of-00001.arrow", "a.feather", "wrong.csv"])
def test_a_lone_arrow_file_is_read_and_written(stream: bool, name: str, workspace: Workspace, tmp_path: Path) -> None:
    path = _arrow(tmp_path / name, stream=stream)
    assert len(preview(path).rows) == 3
    cleaned = _cleaned(workspace, path, tmp_path / "out", lambda row: row != 1)
    read = pa.ipc.open_stream(cleaned) if stream else pa.ipc.open_file(cleaned)
    assert read.read_all().to_pydict() == {"prompt": ["Q0?", "Q2?"], "response": ["A.", "A."], "n": [0, 2]}


@pytest.mark.parametrize("stream", [True, False])
def test_half_an_arrow_file_is_refused_in_words(stream: bool, workspace: Workspace, tmp_path: Path) -> None:
    path = _arrow(tmp_path / "a.arrow", stream=stream)
    whole = path.read_bytes()
    for length in range(8, len(whole) - 8, 16):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.arrow"):
            import_file(workspace, path)


def test_an_arrow_file_without_rows_is_refused_in_words(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row"):
        import_file(workspace, _arrow(tmp_path / "a.arrow", stream=True, rows=0))


def test_flipped_bytes_of_an_arrow_file_are_refused_or_read_and_never_crash(workspace: Workspace, tmp_path: Path) -> None:
    path = _arrow(tmp_path / "a.arrow", stream=True)
    whole = bytearray(path.read_bytes())
    for place in range(0, len(whole), 7):
        broken = whole.copy()
        broken[place] ^= 0xFF
        path.write_bytes(broken)
        try:
            assert len(preview(path).rows) <= 3
        except DataError as exc:
            assert "a.arrow" in str(exc)


def _packed(path: Path, table: pa.Table, codec: str = "zstd") -> Path:
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_packed_buffers_say_what_they_unpack_to_and_are_read(codec: str, workspace: Workspace, tmp_path: Path) -> None:
    table = pa.table({"prompt": ["Why? " * 20] * 500, "response": ["So."] * 500})
    path = _packed(tmp_path / "a.arrow", table, codec)
    with pa.memory_map(str(path)) as mapped:
        claimed = sum(size for _, size in unpacked_sizes(mapped))
    assert table.nbytes <= claimed <= table.nbytes + 1024
    assert import_file(workspace, path).rows == 500


def test_a_small_arrow_file_that_unpacks_to_much_is_refused_before_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reft_studio.data.formats.arrow_rows.HELD_BYTES", 4 << 20)
    path = _packed(tmp_path / "a.arrow", pa.table({"prompt": ["x" * (5 << 20)], "response": ["y"]}))
    assert path.stat().st_size < 10_000
    before = pa.total_allocated_bytes()
    with pytest.raises(DataError, match=r"a\.arrow packs 5 MB into"):
        next(arrow_batches(path))
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_rows_that_take_no_byte_are_not_counted_to_the_end(tmp_path: Path) -> None:
    path = _packed(tmp_path / "a.arrow", pa.table({"prompt": pa.nulls(10**9)}))
    with pytest.raises(DataError, match="1,000,000,000 rows, more than its bytes can hold"):
        next(arrow_batches(path))


def test_lists_that_share_their_values_are_measured_without_writing_them_out() -> None:
    shared = pa.ListViewArray.from_arrays([0] * 50_000, [10**6] * 50_000, pa.array(np.zeros(10**6, np.int8)))
    before = pa.total_allocated_bytes()
    assert set(text_bytes(shared).tolist()) == {8 * 10**6}
    assert pa.total_allocated_bytes() - before < 1 << 20
