"""The files that give any row of a dataset at once: `rows.arrow`, `row_ids.npy`, and `rows.json`, which says that they are whole."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from reft_studio.workspace import write_json

ROWS = "rows.arrow"
IDS = "row_ids.npy"
NOTE = "rows.json"


class RowFiles:
    """Writes the rows of a dataset for random access, batch by batch; memory holds one batch.

    `folder` must be nobody else's. Without `seal` the files do not count: a reader makes them again.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self.rows = 0
        self._last = -1
        self._ascending = True
        self._batches: list[int] = []
        self._ids: BinaryIO = (folder / IDS).open("wb")
        self._header()
        try:
            self._sink = pa.OSFile(str(folder / ROWS), "wb")
            self._writer = pa.ipc.new_file(self._sink, schema)
        except BaseException:
            self._ids.close()
            raise

    def __enter__(self) -> RowFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._writer.close()
            self._sink.close()
            if kind is None:
                self._ids.seek(0)
                self._header()
        except OSError:
            if kind is None:  # else the first error is the one to tell
                raise
        finally:
            self._ids.close()

    def add(self, batch: pa.RecordBatch) -> None:
        """Append rows with the schema's columns, `row_id` among them."""
        ids = batch.column("row_id").to_numpy(zero_copy_only=False)
        if not len(ids):
            return
        self._ascending = self._ascending and bool(ids[0] > self._last) and bool((np.diff(ids) > 0).all())
        self._last = int(ids[-1])
        self._ids.write(np.ascontiguousarray(ids, "<i8").tobytes())
        self._writer.write_batch(batch)
        self._batches.append(len(ids))
        self.rows += len(ids)

    def seal(self, parquet: Path) -> None:
        """Declare the closed files complete, and a copy of the rows in `parquet`."""
        facts = {"rows": self.rows, "ascending": self._ascending, "batches": self._batches}
        write_json(self.folder / NOTE, note_of(self.folder, parquet) | facts)

    def _header(self) -> None:
        # numpy pads the header so that a longer shape takes the same room: it is written again when the rows are counted
        np.lib.format.write_array_header_1_0(self._ids, {"descr": "<i8", "fortran_order": False, "shape": (self.rows,)})


def note_of(folder: Path, parquet: Path) -> dict[str, Any]:
    """Sizes by which a cut-off or exchanged file is noticed. Raises OSError if one is missing."""
    return {
        "parquet_bytes": parquet.stat().st_size,
        "arrow_bytes": (folder / ROWS).stat().st_size,
        "ids_bytes": (folder / IDS).stat().st_size,
    }
