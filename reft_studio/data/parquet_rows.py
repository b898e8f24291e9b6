"""Rows of a Parquet file that may be hostile: read in small batches, measured before they become Python objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reft_studio.data.lines import MAX_ROW_BYTES
from reft_studio.errors import DataError

ROWS = 256
"""Rows read at once."""
FLOOR_BYTES = 1 << 30
RATIO = 100
"""Text may be 100 times the file (or `FLOOR_BYTES`): 2 MB can hold 20 GB, and the sizes a file declares may lie."""
MAX_COLUMNS = 2000


def parquet_rows(path: Path, *, columns: Sequence[str] | None = None) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """Every row as a dictionary (of these top-level columns), or None with the reason why it cannot be one.

    Raises DataError if the file is damaged or unpacks to more than its byte budget.
    """
    budget = max(FLOOR_BYTES, RATIO * path.stat().st_size)
    spent = 0
    # a dot in a name would be read as the path into a nested column
    chosen = list(columns) if columns and not any("." in column for column in columns) else None
    try:
        with _open(path) as file:
            for batch in file.iter_batches(batch_size=ROWS, columns=chosen):
                sizes = _row_bytes(batch)
                spent += sum(sizes)
                if spent > budget:
                    raise DataError(
                        f"{path.name} has {path.stat().st_size / 1e6:.1f} MB but unpacks to more than {budget / 1e9:.1f} GB of text: "
                        "it may be made to exhaust the memory. Save the rows as JSON Lines if they are meant."
                    )
                yield from _rows(batch, sizes)
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as exc:
        raise DataError(
            f"{path.name} is no readable Parquet file: it is damaged, cut off or of a kind that is not supported. Write it again."
        ) from exc


def parquet_columns(path: Path) -> list[str]:
    """Names of the top-level columns. Raises DataError if the file is damaged."""
    try:
        with _open(path) as file:
            return [str(name) for name in file.schema_arrow.names]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as exc:
        raise DataError(f"{path.name} is no readable Parquet file: it is damaged or cut off. Copy or write it again.") from exc


def _open(path: Path) -> pq.ParquetFile:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        if file.metadata.num_columns > MAX_COLUMNS:
            raise DataError(f"{path.name} has {file.metadata.num_columns} columns; at most {MAX_COLUMNS} are read. Keep those that matter.")
        texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    # left as a dictionary, a repeated long text is held once and can be measured before it is written out
    return pq.ParquetFile(path, read_dictionary=texts)


def _row_bytes(batch: pa.RecordBatch) -> list[int]:
    """Bytes of text in each row, from the lengths alone; nested columns count in equal shares."""
    nested = 0
    total = pa.array([0] * batch.num_rows, pa.int64())
    for column in batch.columns:
        if pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type):
            lengths = pc.binary_length(column.dictionary).take(column.indices)
        elif pa.types.is_string(column.type) or pa.types.is_binary(column.type) or pa.types.is_large_string(column.type):
            lengths = pc.binary_length(column)
        else:
            nested += column.nbytes
            continue
        total = pc.add(total, pc.cast(pc.fill_null(lengths, 0), pa.int64()))
    share = nested // max(1, batch.num_rows)
    return [size + share for size in total.to_pylist()]


def _rows(batch: pa.RecordBatch, sizes: list[int]) -> Iterator[tuple[dict[str, Any] | None, str]]:
    if max(sizes, default=0) <= MAX_ROW_BYTES:
        for row in batch.to_pylist():
            yield row, ""
        return
    for place, size in enumerate(sizes):
        if size > MAX_ROW_BYTES:
            yield None, f"the row is longer than {MAX_ROW_BYTES >> 20} MiB"
        else:
            yield batch.slice(place, 1).to_pylist()[0], ""


def parquet_row_count(path: Path) -> int:
    """Rows the file declares; good for a progress bar only. Raises DataError if the file is damaged."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as exc:
        raise DataError(f"{path.name} is no readable Parquet file: it is damaged or cut off. Copy or write it again.") from exc
