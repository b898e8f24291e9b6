"""Arrow by itself: the files of `datasets` and of Feather."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from reft_studio.data.formats import columnar
from reft_studio.data.formats.arrow_rows import arrow_batches, arrow_columns, arrow_rows, count_rows, ipc_batches, is_arrow, writer_like
from reft_studio.data.formats.export import Export
from reft_studio.data.formats.format import BY_BYTES, DataFile, Format
from reft_studio.data.formats.head import FileHead
from reft_studio.data.formats.layout import FileLayout
from reft_studio.data.formats.parquet_rows import ParquetBatch, row_bytes
from reft_studio.data.formats.piece_reader import PieceReader
from reft_studio.data.formats.pieces import Cut, Piece, of_batches
from reft_studio.data.rows.record import RawRecord
from reft_studio.data.rows.row_columns import PieceRows


class Arrow(Format):
    """A stream or a file."""

    name = "arrow"
    label = "Arrow"
    endings = (".arrow", ".feather")
    family = "arrow"
    asked = BY_BYTES
    columnar = True

    def sniff(self, head: FileHead) -> FileLayout | None:
        return FileLayout(self.name) if is_arrow(head.path, head.bytes) else None

    def columns(self, file: DataFile, records: Sequence[RawRecord]) -> list[str]:
        return arrow_columns(file.path)

    def records(self, file: DataFile, *, columns: Sequence[str] | None = None) -> Iterator[RawRecord]:
        return map(columnar.record_of, arrow_rows(file.path, columns=columns))

    def size(self, file: DataFile, columns: Sequence[str]) -> int:
        """Rows."""
        return count_rows(file.path)

    def cut(self, file: DataFile, columns: Sequence[str]) -> Iterator[Cut]:
        return of_batches(arrow_batches(file.path, columns=columns))

    def batches(self, path: Path) -> Iterator[ParquetBatch]:
        return (ParquetBatch(batch, row_bytes(batch)) for batch in ipc_batches(path))

    def read(self, piece: Piece, reader: PieceReader) -> PieceRows:
        return columnar.rows_of(piece, reader)

    def export(self, export: Export) -> None:
        """A stream or a file as the upload is, with its schema."""
        with writer_like(export.file.path, export.out) as writer:
            for table in columnar.kept(ipc_batches(export.file.path, names=False), export):
                writer.write_table(table)


FORMAT = Arrow()
