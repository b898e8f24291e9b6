"""Rows on their way into columns, with what is counted of them; many rows at once, so that no row costs much."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from reft_studio.data.dataset import SCHEMA, Row, full_row
from reft_studio.data.quarantine import Problem


@dataclass
class Part:
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

    def placed(self, first_id: int, first_line: int) -> Part:
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
    messages: list[str | bytes] = field(default_factory=list)
    """JSON text; as bytes UTF-8."""
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
        self.messages.append(full["messages"])
        self.origins.append(full["origin"])
        self.categories.append(full["category"])
        self.truths.append(full["known_harmful"])
        self.hashes.append(row_hash(full["prompt"], full["response"], full["messages"] if len(row["messages"]) > 2 else ""))
        self.multi_turn += user_turns > 1

    def part(self, *, ids: int, lines: int) -> Part:
        """The rows so far as columns. Raises pa.ArrowInvalid above 2 GiB of text."""
        columns = [self.ids, self.prompts, self.responses, self.messages, self.origins, self.categories, self.truths]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
        batch = pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
        return Part(batch, np.array(self.hashes, np.int64), self.problems, ids, lines, self.multi_turn, self.empty_responses)


def row_hash(prompt: str, response: str, earlier: str) -> int:
    """A number by which equal rows are counted; `earlier` is the whole conversation if it has more than two turns.

    Processes that share their counts must share PYTHONHASHSEED.
    """
    return hash((prompt, response, earlier))
