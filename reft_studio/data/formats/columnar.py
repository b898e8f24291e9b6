"""What Parquet and Arrow have in common: rows that come as batches, and go out with the schema of the upload."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from reft_studio.data.formats.arrow_types import filtered
from reft_studio.data.formats.export import Export
from reft_studio.data.formats.parquet_rows import ParquetRow, batch_rows
from reft_studio.data.formats.piece_reader import PieceReader
from reft_studio.data.formats.pieces import Piece
from reft_studio.data.rows.record import RawRecord
from reft_studio.data.rows.row_columns import PieceRows, RowColumns


def record_of(row: ParquetRow) -> RawRecord:
    """The record that a row is."""
    return RawRecord(row.place, row.place + 1, row.value, b"", row.size, row.error)


def rows_of(piece: Piece, reader: PieceReader) -> PieceRows:
    """The rows of the batches of a piece."""
    columns, count = RowColumns(), 0
    for batch in piece.batches:
        for row in batch_rows(batch, count):
            count += 1
            if row.error or row.value is None or not reader.fast.add(row.value, row.place, columns, controls=True):
                reader.slowly(record_of(row), columns)
    return columns.part(ids=count, lines=count)


def kept(batches: Iterator[pa.RecordBatch], export: Export, *, schema: pa.Schema | None = None) -> Iterator[pa.Table]:
    """Of each batch the kept rows, with their new answers; `schema`: of the file, where that says more than a batch."""
    start = 0
    for batch in batches:
        ids = range(start, start + batch.num_rows)
        start += batch.num_rows
        yield _changed(filtered(batch, export.kept.between(ids.start, ids.stop)), ids, batch.schema if schema is None else schema, export)


def _changed(found: pa.Table, ids: range, schema: pa.Schema, export: Export) -> pa.Table:
    """The kept rows among those with these ids, with their new answers."""
    if export.responses.keys().isdisjoint(ids):
        return found
    rows = zip((row_id for row_id in ids if row_id in export.kept), found.to_pylist(), strict=True)
    changed = [export.answered(row, row_id) if row_id in export.responses else row for row_id, row in rows]
    return pa.Table.from_pylist(changed, schema=schema)
