"""Any rows of a dataset at once, by position or by id, whatever its size: its memory-mapped Arrow copy."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reft_studio.data.dataset import AGAIN, KEPT, SCHEMA, Dataset
from reft_studio.data.row_files import IDS, NOTE, ROWS, RowFiles, note_of
from reft_studio.errors import PrerequisiteError, StoreError
from reft_studio.integrity import check, damages, seal
from reft_studio.workspace import read_json, staging

COLUMNS = ("row_id", "prompt", "response", "origin", "category", "known_harmful")
TOUCHED = 200
"""Rows read before their memory is given back: a hundred megabytes or so."""
BUILD = 8192
"""Rows in a batch of a store that is built later than at import."""
IN_MEMORY = 200_000
"""Rows up to which a store is held in memory where it cannot be written."""
_BUILDING = threading.Lock()

Ids = npt.NDArray[np.int64]


class _Pages:
    """Gives back the memory of what was read, which the system keeps in its cache: else an app that shows rows for a day holds them all."""

    def __init__(self, mapping: mmap.mmap | None) -> None:
        self._mapping = mapping
        self._touched = 0

    def touch(self, rows: int) -> None:
        """Count rows that will be read; each brings some pages around it along."""
        self._touched += rows
        if self._touched > TOUCHED and self._mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._touched = 0
            self._mapping.madvise(mmap.MADV_DONTNEED)


class _Lazy(Sequence[pa.RecordBatch]):
    """The batches of a file, each looked up when it is first asked for: all at once would touch every part of a file of gigabytes."""

    def __init__(self, reader: pa.ipc.RecordBatchFileReader, dataset: Dataset) -> None:
        self._reader, self._dataset = reader, dataset
        self._found: dict[int, pa.RecordBatch] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._reader.num_record_batches)

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        with self._lock:  # the reader is not made for several threads
            if number not in self._found:
                try:
                    self._found[number] = self._reader.get_batch(number)
                except (pa.ArrowException, OSError) as exc:
                    raise damaged(self._dataset.path) from exc
            return self._found[number]


@dataclass(frozen=True, eq=False)
class RowStore:
    """An open store. Nothing in it changes, so that any number of threads may ask."""

    row_ids: Ids
    """(rows,) id of the row at each position; memory-mapped."""
    _batches: Sequence[pa.RecordBatch] = field(repr=False)
    _starts: Ids = field(repr=False)
    """Position of the first row of each batch, and the number of rows."""
    _order: Ids | None = field(repr=False)
    """Positions in ascending order of the ids, where the ids themselves do not ascend."""
    _pages: _Pages = field(repr=False)

    @property
    def rows(self) -> int:
        return int(self._starts[-1])

    def positions(self, row_ids: Sequence[int] | Ids) -> Ids:
        """Position of each id, -1 where there is no such row."""
        wanted = np.asarray(row_ids, dtype=np.int64)
        found = np.searchsorted(self.row_ids, wanted, sorter=self._order)
        places = np.minimum(found, self.rows - 1)
        if self._order is not None:
            places = self._order[places]
        return np.where((found < self.rows) & (self.row_ids[places] == wanted), places, -1)

    def take(self, positions: Sequence[int] | Ids, columns: Sequence[str] = COLUMNS) -> list[dict[str, Any]]:
        """The rows at these positions, in this order, as dictionaries; `messages` is JSON text. For what is shown, not for all rows."""
        wanted = np.asarray(positions, dtype=np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < self.rows):
            raise IndexError(f"positions must lie in 0..{self.rows - 1}")
        batches = np.searchsorted(self._starts, wanted, side="right") - 1
        self._pages.touch(len(wanted))
        places = zip(batches.tolist(), (wanted - self._starts[batches]).tolist(), strict=True)
        return [{name: self._batches[number].column(name)[place].as_py() for name in columns} for number, place in places]

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows in order, some thousands at a time, without copying them."""
        for batch in self._batches:
            self._pages.touch(batch.num_rows)
            yield batch if columns is None else batch.select(list(columns))


def row_store(dataset: Dataset) -> RowStore:
    """The store of a dataset, kept open; a dataset without one gets it now (seconds per million rows).

    Raises StoreError if the dataset is damaged.
    """
    try:
        parquet = dataset.path.stat()
        if damages(dataset.folder, (ROWS, IDS, NOTE)):
            _opened.cache_clear()  # to be made anew
        return _opened(dataset.folder, dataset.fingerprint, parquet.st_mtime_ns, parquet.st_size)
    except (pa.ArrowException, OSError, ValueError) as exc:
        raise damaged(dataset.path) from exc


def damaged(path: Path) -> StoreError:
    """The error for a file of a dataset that cannot be read."""
    return StoreError(f"datasets/{path.parent.name}/{path.name} cannot be read: it is damaged. Import the file again.")


@lru_cache(maxsize=16)
def _opened(folder: Path, _fingerprint: str, _modified: int, _size: int) -> RowStore:
    dataset = Dataset.open(folder)
    with _BUILDING:
        if not _whole(dataset):
            check(dataset.folder, *KEPT, remedy=AGAIN, wait=True)  # what the copy is made from
            try:
                _build(dataset)
            except PrerequisiteError:
                if dataset.rows > IN_MEMORY:
                    raise
                return _held(dataset)  # e.g. a dataset that ships with the app, in a folder that is not ours to write
    note = read_json(folder / NOTE)
    ids = np.load(folder / IDS, mmap_mode="r", allow_pickle=False)
    with (folder / ROWS).open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    reader = pa.ipc.open_file(pa.py_buffer(mapping))
    return _store(ids, _Lazy(reader, dataset), note["batches"], _Pages(mapping), ascending=note["ascending"])


def _store(ids: Ids, batches: Sequence[pa.RecordBatch], rows: Sequence[int], pages: _Pages, *, ascending: bool) -> RowStore:
    starts = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)]).astype(np.int64)
    return RowStore(ids, batches, starts, None if ascending else np.argsort(ids, kind="stable"), pages)


def _whole(dataset: Dataset) -> bool:
    """Whether the store was written to its end, and belongs to this Parquet file."""
    if not (dataset.folder / NOTE).is_file() or damages(dataset.folder, (ROWS, IDS, NOTE)):
        return False
    try:
        note = read_json(dataset.folder / NOTE)
        return bool(note["rows"] == dataset.rows == sum(note["batches"]) and note == {**note, **note_of(dataset.folder, dataset.path)})
    except (StoreError, OSError, KeyError, TypeError):
        return False


def _build(dataset: Dataset) -> None:
    """Make the store in the dataset's folder. Raises PrerequisiteError if it cannot be written there."""
    with staging(dataset.folder) as scratch:
        with RowFiles(scratch, SCHEMA) as files:
            for batch in dataset.batches(size=BUILD):
                files.add(_plain(batch))
        files.seal(dataset.path)
        for name in (ROWS, IDS, NOTE):  # the note last: it makes the others count
            (scratch / name).replace(dataset.folder / name)
    seal(dataset.folder, (ROWS, IDS, NOTE))


def _held(dataset: Dataset) -> RowStore:
    """A store in memory."""
    batches = [_plain(batch) for batch in dataset.batches(size=BUILD)]
    ids = np.concatenate([batch.column("row_id").to_numpy() for batch in batches])
    rows = [batch.num_rows for batch in batches]
    return _store(ids, batches, rows, _Pages(None), ascending=bool((np.diff(ids) > 0).all()))


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([batch.column(name).cast(SCHEMA.field(name).type) for name in SCHEMA.names], schema=SCHEMA)
