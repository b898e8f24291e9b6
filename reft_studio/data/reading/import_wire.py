"""What an import and the processes that read for it say to each other: JSON, and rows as Arrow. Nothing that could be code."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from reft_studio.data.formats.format import DataFile
from reft_studio.data.formats.layout import FileLayout
from reft_studio.data.formats.parquet_rows import ParquetBatch, row_bytes
from reft_studio.data.formats.piece_reader import ReadingSpec
from reft_studio.data.formats.pieces import Piece
from reft_studio.data.rows.mapping import Mapping
from reft_studio.data.rows.quarantine import Problem
from reft_studio.data.rows.row_columns import PieceRows


def send(stream: IO[bytes], words: dict[str, Any], rows: list[pa.RecordBatch]) -> None:
    """Write one message: JSON on a line, then rows, if there are any."""
    stream.write(json.dumps([words, bool(rows)]).encode("ascii") + b"\n")
    if rows:
        # not closed: that would close the stream
        with pa.ipc.new_stream(pa.PythonFile(stream, "w"), rows[0].schema) as writer:
            for batch in rows:
                writer.write_batch(batch)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[pa.RecordBatch]]:
    """Read one message. Raises EOFError if the other side is gone."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    words, more = json.loads(line)
    rows: list[pa.RecordBatch] = []
    if more:
        with pa.ipc.open_stream(pa.PythonFile(stream, "r")) as reader:
            rows = list(reader)
    return words, rows


def reading_to(reading: ReadingSpec) -> dict[str, Any]:
    """A reading as JSON."""
    file = {"path": str(reading.file.path), "layout": reading.file.layout.to_json()}
    return {**file, "mapping": reading.mapping.model_dump(), "role": reading.role, "free": reading.free}


def reading_from(words: dict[str, Any]) -> ReadingSpec:
    """The inverse of `reading_to`."""
    file = DataFile(Path(words["path"]), FileLayout(**words["layout"]))
    return ReadingSpec(file, Mapping(**words["mapping"]), words["role"], words["free"])


def piece_to(piece: Piece) -> tuple[dict[str, Any], list[pa.RecordBatch]]:
    """A piece as JSON and rows. Records are read where they are."""
    assert piece.records is None
    return {"words": piece.words}, [one.batch for one in piece.batches]


def piece_from(words: dict[str, Any], rows: list[pa.RecordBatch]) -> Piece:
    """The inverse of `piece_to`."""
    return Piece(words["words"], tuple(ParquetBatch(batch, row_bytes(batch)) for batch in rows))


def part_to(part: PieceRows | None) -> tuple[dict[str, Any], list[pa.RecordBatch]]:
    """A part as JSON and rows."""
    if part is None:
        return {"part": None}, []
    counts = [part.ids, part.lines, part.multi_turn, part.empty_responses]
    batch = part.batch.append_column("hash", pa.array(part.hashes))
    return {"part": counts, "problems": [astuple(problem) for problem in part.problems]}, [batch]


def part_from(words: dict[str, Any], rows: list[pa.RecordBatch]) -> PieceRows | None:
    """The inverse of `part_to`."""
    if words["part"] is None:
        return None
    (batch,) = rows
    hashes = np.asarray(batch.column("hash"), dtype=np.int64)
    return PieceRows(batch.drop_columns(["hash"]), hashes, [Problem(*problem) for problem in words["problems"]], *words["part"])
