"""Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from reft_studio.data.formats import columnar
from reft_studio.data.formats.export import Export
from reft_studio.data.formats.format import BY_BYTES, DataFile, Format
from reft_studio.data.formats.head import FileHead
from reft_studio.data.formats.layout import FileLayout
from reft_studio.data.formats.parquet_rows import (
    BUFFER,
    ParquetBatch,
    check_parquet,
    parquet_batches,
    parquet_columns,
    parquet_rows,
    unpacked_bytes,
)
from reft_studio.data.formats.piece_reader import PieceReader
from reft_studio.data.formats.pieces import Cut, Piece, of_batches
from reft_studio.data.rows.record import RawRecord
from reft_studio.data.rows.row_columns import PieceRows


class Parquet(Format):
    """Read in batches whose bytes are counted before any of their rows is made."""

    name = "parquet"
    label = "Parquet"
    endings = (".parquet",)
    family = "parquet"
    writes = True
    asked = BY_BYTES
    columnar = True
    numbered = True

    def sniff(self, head: FileHead) -> FileLayout | None:
        return FileLayout(self.name) if head.bytes.startswith(b"PAR1") else None

    def columns(self, file: DataFile, records: Sequence[RawRecord]) -> list[str]:
        return parquet_columns(file.path)

    def records(self, file: DataFile, *, columns: Sequence[str] | None = None) -> Iterator[RawRecord]:
        return map(columnar.record_of, parquet_rows(file.path, columns=columns))

    def size(self, file: DataFile, columns: Sequence[str]) -> int:
        """Rows."""
        return check_parquet(file.path, columns)

    def unpacked(self, file: DataFile) -> int:
        return unpacked_bytes(file.path)

    def cut(self, file: DataFile, columns: Sequence[str]) -> Iterator[Cut]:
        return of_batches(parquet_batches(file.path, columns=columns))

    def batches(self, path: Path) -> Iterator[ParquetBatch]:
        return parquet_batches(path)

    def read(self, piece: Piece, reader: PieceReader) -> PieceRows:
        return columnar.rows_of(piece, reader)

    def export(self, export: Export) -> None:
        """Batch by batch, with the schema and its metadata as they were."""
        with (
            pq.ParquetFile(export.file.path, pre_buffer=False, buffer_size=BUFFER) as source,
            pq.ParquetWriter(export.out, source.schema_arrow, compression="zstd") as writer,
        ):
            for table in columnar.kept(_batches(source), export, schema=source.schema_arrow):
                writer.write_table(table)

    def write(self, rows: pa.Table, out: BinaryIO) -> None:
        pq.write_table(rows, out)


FORMAT = Parquet()


def _batches(source: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    for group in range(source.num_row_groups):  # one reader for all would keep some bytes of every row
        yield from source.iter_batches(batch_size=1024, row_groups=[group])
