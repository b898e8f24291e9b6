"""Arrow files by themselves: a stream, as `datasets` writes one, or a file, as Feather is. Checked before a value is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reft_studio.data.formats.arrow_messages import unpacked_sizes
from reft_studio.data.formats.parquet_rows import FLOOR_BYTES, HELD_BYTES, RATIO, ParquetBatch, ParquetRow, batch_rows, row_bytes
from reft_studio.errors import DataError

FILE, STREAM = b"ARROW1", b"\xff\xff\xff\xff"
"""How a file and how a stream begin."""
MOST_ROWS = 64
"""Rows for each byte of the file."""
BATCH = 8192
"""Rows given at once."""


def is_arrow(path: Path, head: bytes) -> bool:
    """Whether a file that begins so is an Arrow file or stream."""
    if not head.startswith((FILE, STREAM)):
        return False
    try:
        with _opened(path):
            return True
    except DataError:
        return True  # what it says when it is read
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError, OverflowError):
        return head.startswith(FILE)  # a damaged one: reading it says so


@contextmanager
def _opened(path: Path) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    with pa.memory_map(str(path)) as mapped:
        # a file is a stream between two marks; its footer could lead to batches that were not looked at
        begin = 8 if mapped.size() >= 8 and bytes(mapped.read_at(len(FILE), 0)) == FILE else 0
        if begin and bytes(mapped.read_at(len(FILE), mapped.size() - len(FILE))) != FILE:
            raise pa.ArrowInvalid("the mark at the end is missing")
        mapped.seek(begin)
        for packed, size in unpacked_sizes(mapped):
            if size > max(HELD_BYTES, RATIO * packed):
                raise DataError(
                    f"{path.name} packs {size / 1e6:,.0f} MB into {packed / 1e6:.3f} MB, which no text does: it may be made to exhaust the "
                    "memory. Save the rows as JSON Lines if they are meant."
                )
        mapped.seek(begin)
        stream = pa.ipc.open_stream(mapped)
        yield stream.schema, iter(stream)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise DataError if the file is cut off or not what its name says."""
    try:
        yield
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError, OverflowError) as exc:
        raise DataError(f"{path.name} cannot be read: it is cut off, damaged or not what its name says. Copy it again.") from exc


def ipc_batches(path: Path, *, names: bool = True) -> Iterator[pa.RecordBatch]:
    """Batches of at most `BATCH` rows; with `names`, numbers that stand for labels (a ClassLabel of `datasets`) as the labels."""
    with readable(path), _opened(path) as (_, batches):
        for batch in batches:
            batch.validate(full=True)  # Arrow itself trusts the offsets of a file
            if batch.num_rows > MOST_ROWS * path.stat().st_size:  # types exist whose rows take no byte
                raise DataError(
                    f"{path.name} says that it has {batch.num_rows:,} rows, more than its bytes can hold. Copy or write it again."
                )
            for start in range(0, batch.num_rows, BATCH):
                part = batch.slice(start, BATCH)
                yield named(part) if names else part


def arrow_batches(path: Path, *, columns: Sequence[str] | None = None) -> Iterator[ParquetBatch]:
    """All rows, some at a time, with these columns. Raises DataError if the file is damaged or holds more text than its byte budget."""
    budget, spent = max(FLOOR_BYTES, RATIO * path.stat().st_size), 0
    for batch in ipc_batches(path):
        chosen = batch.select(list(columns)) if columns else batch
        sizes = row_bytes(chosen)
        spent += int(sizes.sum())
        if spent > budget:
            raise DataError(
                f"{path.name} unpacks to more than {budget / 1e9:.1f} GB of text. Save the rows as JSON Lines if they are meant."
            )
        parts = np.flatnonzero(np.diff(np.cumsum(sizes) // HELD_BYTES)) + 1  # rows that may share one text are not all written out at once
        for start, end in pairwise([0, *parts.tolist(), len(sizes)]):
            yield ParquetBatch(chosen.slice(start, end - start), sizes[start:end])


def arrow_rows(path: Path, *, columns: Sequence[str] | None = None) -> Iterator[ParquetRow]:
    """Every row."""
    place = 0
    for batch in arrow_batches(path, columns=columns):
        for row in batch_rows(batch, place):
            yield row
            place += 1


def arrow_columns(path: Path) -> list[str]:
    """Names of the columns. Raises DataError if the file is damaged."""
    with readable(path), _opened(path) as (schema, _):
        return [str(name) for name in schema.names]


def count_rows(path: Path) -> int:
    """Rows of an Arrow file. Raises DataError if it is cut off."""
    with readable(path), _opened(path) as (_, batches):
        return sum(batch.num_rows for batch in batches)


@contextmanager
def writer_like(path: Path, target: BinaryIO) -> Iterator[pa.ipc.RecordBatchStreamWriter]:
    """A writer of the kind (stream or file) and with the schema of the file at `path`."""
    with path.open("rb") as file:
        new = pa.ipc.new_file if file.read(len(FILE)) == FILE else pa.ipc.new_stream
    with _opened(path) as (schema, _), new(target, schema) as writer:
        yield writer


def named(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Numbers that stand for labels as the labels."""
    notes = (batch.schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(notes)["info"]["features"] if notes else {}
    except (ValueError, KeyError, TypeError):
        features = {}  # only a note: the numbers themselves are there
    for place, field in enumerate(batch.schema):
        feature = features.get(field.name) if isinstance(features, dict) else None
        names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
        if isinstance(names, list) and pa.types.is_integer(field.type):
            labels = pa.array([str(name) for name in names], pa.string())
            known = pc.and_(pc.greater_equal(batch.column(place), 0), pc.less(batch.column(place), len(names)))
            codes = pc.if_else(known, batch.column(place), pa.scalar(None, field.type))
            batch = batch.set_column(place, pa.field(field.name, pa.string()), pc.take(labels, codes))
    return batch
