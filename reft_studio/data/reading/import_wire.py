"""What an import and the processes that read for it say to each other: JSON, and rows as Arrow. Nothing that could be code."""

from __future__ import annotations

import json
from dataclasses import asdict, astuple
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from reft_studio.data.formats.detect import FileLayout
from reft_studio.data.formats.json_stream import Element
from reft_studio.data.formats.parquet_rows import ParquetBatch, row_bytes
from reft_studio.data.formats.parts import BatchesPiece, ElementsPiece, LinesPiece, Piece, ReadingSpec, RecordsPiece, TablePiece
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
    return {**asdict(reading), "path": str(reading.path), "mapping": reading.mapping.model_dump(), "layout": reading.layout.to_json()}


def reading_from(words: dict[str, Any]) -> ReadingSpec:
    """The inverse of `reading_to`."""
    return ReadingSpec(
        **{**words, "path": Path(words["path"]), "mapping": Mapping(**words["mapping"]), "layout": FileLayout(**words["layout"])}
    )


def piece_to(piece: Piece) -> tuple[dict[str, Any], list[pa.RecordBatch]]:
    """A piece as JSON and rows. Records are read where they are."""
    match piece:
        case LinesPiece():
            return {"lines": piece}, []
        case TablePiece():
            return {"table": piece}, []
        case ElementsPiece():
            return {"elements": piece.elements}, []
        case BatchesPiece():
            return {}, [one.batch for one in piece.batches]
        case RecordsPiece():
            raise TypeError("records have no form to be sent in")


def piece_from(words: dict[str, Any], rows: list[pa.RecordBatch]) -> Piece:
    """The inverse of `piece_to`."""
    if "lines" in words:
        return LinesPiece(*words["lines"])
    if "table" in words:
        return TablePiece(*words["table"])
    if "elements" in words:
        return ElementsPiece([Element(*element) for element in words["elements"]])
    return BatchesPiece([ParquetBatch(batch, row_bytes(batch)) for batch in rows])


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
