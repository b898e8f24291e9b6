"""What an import and the processes that read for it say to each other: JSON, and rows as Arrow. Nothing that could be code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, astuple
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from reft_studio.data.detect import Layout
from reft_studio.data.json_stream import Element
from reft_studio.data.mapping import Mapping
from reft_studio.data.parquet_rows import ParquetBatch, row_bytes
from reft_studio.data.parts import BatchesPiece, ElementsPiece, LinesPiece, Piece, Reading, RecordsPiece, TablePiece
from reft_studio.data.quarantine import Problem
from reft_studio.data.row_columns import Part


def send(stream: IO[bytes], words: dict[str, Any], rows: pa.Buffer | None = None) -> None:
    """Write one message: two lengths, then JSON, then rows."""
    data = json.dumps(words).encode("ascii")
    stream.write(len(data).to_bytes(8, "little") + (rows.size if rows is not None else 0).to_bytes(8, "little"))
    stream.write(data)
    if rows is not None:
        stream.write(rows)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], pa.Buffer]:
    """Read one message. Raises EOFError if the other side is gone, ValueError if it speaks of something else."""
    head = stream.read(16)
    sizes = int.from_bytes(head[:8], "little"), int.from_bytes(head[8:], "little")
    data, rows = stream.read(sizes[0]), stream.read(sizes[1])
    if len(head) < 16 or (len(data), len(rows)) != sizes:
        raise EOFError
    words: dict[str, Any] = json.loads(data)
    return words, pa.py_buffer(rows)


def reading_to(reading: Reading) -> dict[str, Any]:
    """A reading as JSON."""
    return {**asdict(reading), "path": str(reading.path), "mapping": reading.mapping.model_dump(), "layout": reading.layout.to_json()}


def reading_from(words: dict[str, Any]) -> Reading:
    """The inverse of `reading_to`."""
    return Reading(**{**words, "path": Path(words["path"]), "mapping": Mapping(**words["mapping"]), "layout": Layout(**words["layout"])})


def piece_to(piece: Piece) -> tuple[dict[str, Any], pa.Buffer | None]:
    """A piece as JSON and rows. Records are read where they are."""
    match piece:
        case LinesPiece():
            return {"lines": piece}, None
        case TablePiece():
            return {"table": piece}, None
        case ElementsPiece():
            return {"elements": piece.elements}, None
        case BatchesPiece():
            return {}, _stream([one.batch for one in piece.batches])
        case RecordsPiece():
            raise TypeError("records have no form to be sent in")


def piece_from(words: dict[str, Any], rows: pa.Buffer) -> Piece:
    """The inverse of `piece_to`."""
    if "lines" in words:
        return LinesPiece(*words["lines"])
    if "table" in words:
        return TablePiece(*words["table"])
    if "elements" in words:
        return ElementsPiece([Element(*element) for element in words["elements"]])
    return BatchesPiece([ParquetBatch(batch, row_bytes(batch)) for batch in _batches(rows)])


def part_to(part: Part | None) -> tuple[dict[str, Any], pa.Buffer | None]:
    """A part as JSON and rows."""
    if part is None:
        return {"part": None}, None
    counts = [part.ids, part.lines, part.multi_turn, part.empty_responses]
    batch = part.batch.append_column("hash", pa.array(part.hashes))
    return {"part": counts, "problems": [astuple(problem) for problem in part.problems]}, _stream([batch])


def part_from(words: dict[str, Any], rows: pa.Buffer) -> Part | None:
    """The inverse of `part_to`."""
    if words["part"] is None:
        return None
    (batch,) = _batches(rows)
    hashes = np.asarray(batch.column("hash"), dtype=np.int64)
    return Part(batch.drop_columns(["hash"]), hashes, [Problem(*problem) for problem in words["problems"]], *words["part"])


def _stream(batches: list[pa.RecordBatch]) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def _batches(rows: pa.Buffer) -> Iterator[pa.RecordBatch]:
    with pa.ipc.open_stream(rows) as reader:
        yield from reader
