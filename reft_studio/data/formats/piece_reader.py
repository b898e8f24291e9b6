"""Pieces of an upload become rows: the quick way where a row is plain, the careful way where it is not."""

from __future__ import annotations

from dataclasses import dataclass

from reft_studio.data.dataset import Role
from reft_studio.data.formats.format import DataFile
from reft_studio.data.formats.pieces import Piece
from reft_studio.data.rows.fast_rows import FastRows
from reft_studio.data.rows.interpret import Interpreter
from reft_studio.data.rows.mapping import Mapping
from reft_studio.data.rows.record import RawRecord
from reft_studio.data.rows.row_columns import PieceRows, RowColumns


@dataclass(frozen=True)
class ReadingSpec:
    """How an upload is read; small, so that it can be given to another process."""

    file: DataFile
    mapping: Mapping
    role: Role
    free: bool
    """Whether rows without the mapped columns are read by their own names."""


class PieceReader:
    """Turns pieces of one upload into rows. A format adds plain rows by `fast` and gives all others to `slowly`."""

    def __init__(self, reading: ReadingSpec) -> None:
        self.file = reading.file
        self.fast = FastRows(reading.mapping, reading.role)
        self._careful = Interpreter(reading.mapping, reading.role, reading.free, reading.file.layout.encoding)

    def read(self, piece: Piece) -> PieceRows | None:
        """The rows of a piece.

        None for a piece of a table in which a quote is out of place: from its start on, the table must be read as one.
        """
        if piece.records is None:
            return self.file.format.read(piece, self)
        columns = RowColumns()
        for record in piece.records:
            self.slowly(record, columns)
        return columns.part(ids=0, lines=0)

    def slowly(self, record: RawRecord, columns: RowColumns) -> None:
        """Add what a record gives, whatever that is."""
        found = self._careful.read(record)
        columns.problems += found.problems
        columns.empty_responses += found.empty_response
        if found.row is not None:
            columns.add(found.row, found.user_turns)

    def bytes_at(self, start: int, length: int) -> bytes:
        """A stretch of the file."""
        with self.file.path.open("rb") as file:
            file.seek(start)
            return file.read(length)
