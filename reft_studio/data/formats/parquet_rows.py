"""Rows of a Parquet file that may be hostile: measured by their lengths before any of them becomes a Python object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reft_studio.data.formats.arrow_types import Sizes, rows_of, text_bytes
from reft_studio.data.formats.lines import MAX_ROW_BYTES
from reft_studio.data.formats.parquet_pages import bomb, longest_entry
from reft_studio.errors import DataError

BATCH_BYTES = 16 << 20
HELD_BYTES = 256 << 20
MAX_BATCH = 4096
"""Rows read at once, fewer if the file says that they are large."""
FLOOR_BYTES = 1 << 30
BUFFER = 1 << 20
"""Bytes of a column read ahead; else a row group would be held packed as a whole, and some files have but one."""
RATIO = 100
"""Text may be 100 times the file (or `FLOOR_BYTES`): 2 MB can hold 20 GB, and the sizes a file declares may lie."""
MAX_COLUMNS = 2000


class ParquetRow(NamedTuple):
    """One row; `value` is None if `error` says why."""

    place: int
    value: dict[str, Any] | None
    size: int
    error: str


class ParquetBatch(NamedTuple):
    """Some rows, with the bytes of text that each would take."""

    batch: pa.RecordBatch
    sizes: Sizes


def parquet_batches(path: Path, *, columns: Sequence[str] | None = None) -> Iterator[ParquetBatch]:
    """All rows, some at a time, with these top-level columns.

    Raises DataError if the file is damaged or unpacks to more than its byte budget.
    """
    budget, spent = _budget(path), 0
    for batch in _batches(path, columns):
        sizes = row_bytes(batch)
        spent += int(sizes.sum())
        if spent > budget:
            raise _too_large(path)
        yield ParquetBatch(batch, sizes)


def parquet_rows(path: Path, *, columns: Sequence[str] | None = None) -> Iterator[ParquetRow]:
    """Every row, as `parquet_batches` gives them."""
    place = 0
    for batch in parquet_batches(path, columns=columns):
        for row in batch_rows(batch, place):
            yield row
            place += 1


def batch_rows(batch: ParquetBatch, place: int) -> Iterator[ParquetRow]:
    """The rows of a batch, the first of which is at `place`."""
    for number, (error, value, size) in enumerate(_values(batch.batch, batch.sizes), start=place):
        yield ParquetRow(number, value, size, error)


def check_parquet(path: Path, columns: Sequence[str] | None = None) -> int:
    """Rows of the file, counted. Raises DataError if it is damaged or a bomb; takes a fraction of the time of reading it."""
    budget, spent, count = _budget(path), 0, 0
    for batch in _batches(path, columns):
        spent += int(row_bytes(batch).sum())
        count += batch.num_rows
        if spent > budget:
            raise _too_large(path)
    return count


def parquet_columns(path: Path) -> list[str]:
    """Names of the top-level columns. Raises DataError if the file is damaged."""
    with _readable(path), pq.ParquetFile(path) as file:
        return [str(name) for name in file.schema_arrow.names]


def unpacked_bytes(path: Path) -> int:
    """What the columns take unpacked, as the file says. Raises DataError if it is damaged."""
    with _readable(path):
        return _unpacked(pq.read_metadata(path))


def _unpacked(metadata: pq.FileMetaData) -> int:
    return sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))


def _budget(path: Path) -> int:
    return max(FLOOR_BYTES, RATIO * path.stat().st_size)


def _too_large(path: Path) -> DataError:
    return DataError(
        f"{path.name} has {path.stat().st_size / 1e6:.3f} MB but unpacks to more than {_budget(path) / 1e9:.1f} GB of text: "
        "it may be made to exhaust the memory. Save the rows as JSON Lines if they are meant."
    )


def _bomb(path: Path, packed: int, size: int) -> DataError:
    return DataError(
        f"{path.name} packs {size / 1e6:,.0f} MB into a page of {packed / 1e6:.3f} MB, which no text does: it may be made to exhaust the "
        f"memory. A page may be {RATIO} times what it takes packed. Save the rows as JSON Lines if they are meant."
    )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what a damaged file provokes into a message for a person."""
    try:
        yield
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError, OverflowError) as exc:
        raise DataError(
            f"{path.name} is no readable Parquet file: it is damaged, cut off or of a kind that is not supported. Copy or write it again."
        ) from exc


def _batches(path: Path, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    # a dot in a name would be read as the path into a nested column
    chosen = list(columns) if columns and not any("." in column for column in columns) else None
    with _readable(path):
        metadata = pq.read_metadata(path)
        if metadata.num_columns > MAX_COLUMNS:
            raise DataError(f"{path.name} has {metadata.num_columns} columns; at most {MAX_COLUMNS} are read. Keep those that matter.")
        if _unpacked(metadata) > _budget(path):
            raise _too_large(path)
        with path.open("rb") as pages, pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER) as file:
            if found := bomb(pages, metadata, ratio=RATIO):
                raise _bomb(path, *found)
            for number in range(metadata.num_row_groups):
                size = _batch_rows(pages, metadata.row_group(number))
                yield from file.iter_batches(batch_size=size, row_groups=[number], columns=chosen)


def _batch_rows(pages: BinaryIO, group: pq.RowGroupMetaData) -> int:
    """Rows to read at once, so that even rows of nothing but the longest text in a dictionary fit into memory."""
    worst = 0
    for column in (group.column(number) for number in range(group.num_columns)):
        if column.physical_type == "BYTE_ARRAY":
            worst = max(worst, longest_entry(pages, column) * column.num_values // max(1, group.num_rows))
    usual = min(MAX_BATCH, BATCH_BYTES * group.num_rows // max(1, group.total_byte_size))
    return int(max(1, min(usual, HELD_BYTES // max(1, worst))))


def row_bytes(batch: pa.RecordBatch) -> Sizes:
    """Bytes of text that each row would take, from lengths alone."""
    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        sizes += text_bytes(column)
    return sizes


def _values(batch: pa.RecordBatch, sizes: Sizes) -> Iterator[tuple[str, dict[str, Any] | None, int]]:
    """Error or "", the row or None, and its bytes."""
    rows = rows_of(batch) if sizes.max(initial=0) <= MAX_ROW_BYTES else None
    for place, size in enumerate(sizes.tolist()):
        if size > MAX_ROW_BYTES:
            yield f"the row is longer than {MAX_ROW_BYTES >> 20} MiB", None, size
        elif (row := rows[place : place + 1] if rows is not None else rows_of(batch.slice(place, 1))) is not None:
            yield "", row[0], size
        else:
            yield "a value that cannot be read, such as text that is not UTF-8", None, size
