"""The rows of an upload that are kept, on their way into a file of its format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from reft_studio.data.formats.format import DataFile
from reft_studio.data.rows.interpret import Interpreter
from reft_studio.data.rows.relabel import with_response

STEP = 65_536
"""Rows asked about at once."""


class Kept:
    """Ids of imported rows that are wanted, one byte each. Rows that were set aside have ids too, and nobody decided about them."""

    def __init__(self, row_ids: np.ndarray[Any, np.dtype[np.int64]], wanted: Callable[[int], bool]) -> None:
        self.flags = np.zeros(int(row_ids.max(initial=-1)) + 1, np.bool_)
        for start in range(0, len(row_ids), STEP):
            ids = row_ids[start : start + STEP].tolist()
            self.flags[ids] = [wanted(row_id) for row_id in ids]
        self._bytes = self.flags.tobytes()

    def __contains__(self, row_id: int) -> bool:
        return row_id < len(self._bytes) and self._bytes[row_id] == 1

    def between(self, first: int, end: int) -> pa.BooleanArray:
        """Whether each row of a stretch is wanted."""
        found = np.zeros(end - first, np.bool_)
        known = self.flags[first:end]
        found[: len(known)] = known
        return pa.array(found)


@dataclass(frozen=True)
class Export:
    """One export of an upload: which rows, with which new answers, to where."""

    file: DataFile
    kept: Kept
    responses: Mapping[int, str]
    reader: Interpreter
    out: BinaryIO

    def answered(self, value: Any, row_id: int) -> dict[str, Any]:
        """The row with its new answer."""
        return with_response(value, self.reader, self.responses[row_id])

    def bom(self) -> None:
        """Write the byte order mark of the upload, if it has one."""
        with self.file.path.open("rb") as source:
            self.out.write(source.read(self.file.layout.bom))
