"""Rows on their way into columns, with what is counted of them; many rows at once, so that no row costs much."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from reft_studio.data.dataset import SCHEMA, Row, full_row
from reft_studio.data.rows.quarantine import Problem

LARGEST = (1 << 31) - 1
"""Bytes of text in one column of a batch."""


@dataclass
class PieceRows:
    """What became of one piece of an upload. Ids and lines count from the piece's own beginning until it is placed."""

    batch: pa.RecordBatch
    """Usable rows, of `SCHEMA`."""
    hashes: np.ndarray[Any, np.dtype[np.int64]]
    """One number for each usable row; equal rows have equal numbers."""
    problems: list[Problem]
    ids: int
    """Row ids the piece takes, those of rows set aside and blank lines included."""
    lines: int
    multi_turn: int
    empty_responses: int

    def placed(self, first_id: int, first_line: int) -> PieceRows:
        """The same part, where `first_id` ids and `first_line` lines stand before it."""
        if first_id:
            ids = pa.array(self.batch.column("row_id").to_numpy() + first_id, pa.int64())
            self.batch = pa.RecordBatch.from_arrays([ids, *self.batch.columns[1:]], schema=SCHEMA)
        if first_line:
            self.problems = [
                Problem(problem.line + first_line, problem.severity, problem.reason, problem.hint, problem.raw) for problem in self.problems
            ]
        return self


@dataclass
class RowColumns:
    """Collects rows as one list for each column."""

    ids: list[int] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    """JSON text in UTF-8."""
    origins: list[str] = field(default_factory=list)
    categories: list[str | None] = field(default_factory=list)
    truths: list[bool | None] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    multi_turn: int = 0
    empty_responses: int = 0

    def add(self, row: Row, user_turns: int) -> None:
        """Append a row that took the careful way."""
        full = full_row(row, 0)
        self.ids.append(full["row_id"])
        self.prompts.append(full["prompt"])
        self.responses.append(full["response"])
        self.messages.append(full["messages"].encode("utf-8"))
        self.origins.append(full["origin"])
        self.categories.append(full["category"])
        self.truths.append(full["known_harmful"])
        self.hashes.append(row_hash(full["prompt"], full["response"], full["messages"] if len(row["messages"]) > 2 else ""))
        self.multi_turn += user_turns > 1

    def part(self, *, ids: int, lines: int) -> PieceRows:
        """The rows so far as columns. Raises pa.ArrowInvalid above 2 GiB of text."""
        messages = _column(b"".join(self.messages), self.messages)
        texts = [_texts(self.prompts), _texts(self.responses), messages, _texts(self.origins)]
        rest = [pa.array(self.categories, pa.string()), pa.array(self.truths, pa.bool_())]
        batch = pa.RecordBatch.from_arrays([pa.array(self.ids, pa.int64()), *texts, *rest], schema=SCHEMA)
        return PieceRows(batch, np.array(self.hashes, np.int64), self.problems, ids, lines, self.multi_turn, self.empty_responses)


def _texts(values: list[str]) -> pa.StringArray:
    """A column of texts."""
    whole = "".join(values)
    if whole.isascii():
        return _column(whole.encode("ascii"), values)
    encoded = [value.encode("utf-8") for value in values]
    return _column(b"".join(encoded), encoded)


def _column(whole: bytes, values: list[str] | list[bytes]) -> pa.StringArray:
    """Texts that follow each other in `whole`, whose bytes are copied at once: ten times as quick as one by one."""
    if len(whole) > LARGEST:
        raise pa.ArrowInvalid("more than 2 GiB of text in one piece of an upload")
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, values), np.int32, len(values)), out=offsets[1:])
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(whole))


def row_hash(prompt: str, response: str, earlier: str) -> int:
    """A number by which equal rows are counted; `earlier` is the whole conversation if it has more than two turns.

    Processes that share their counts must share PYTHONHASHSEED.
    """
    return hash((prompt, response, earlier))
