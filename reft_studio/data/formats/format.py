"""What every file format can do: know its files, read them row by row or in pieces, and write the rows that are kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import pyarrow as pa

from reft_studio.data.formats import FORMATS
from reft_studio.data.formats.head import FileHead
from reft_studio.data.formats.layout import FileLayout
from reft_studio.data.formats.parquet_rows import ParquetBatch
from reft_studio.data.formats.pieces import Cut, Piece, of_records
from reft_studio.data.rows.interpret import columns_of, objects_of
from reft_studio.data.rows.record import RawRecord
from reft_studio.data.rows.row_columns import PieceRows
from reft_studio.errors import DataError

if TYPE_CHECKING:
    from reft_studio.data.formats.export import Export
    from reft_studio.data.formats.piece_reader import PieceReader

BY_BYTES, BY_TEXT, ANY_TEXT = range(3)
"""When a format is asked whether a file is of it: those with a mark in their bytes first, last the one that any text can be."""


@dataclass(frozen=True)
class DataFile:
    """A file whose layout is known: found once, and passed on."""

    path: Path
    layout: FileLayout
    stamp: tuple[int, int] | None = None
    """Bytes of the file and when it was last changed (nanoseconds), as it was looked at."""

    @property
    def format(self) -> Format:
        return FORMATS.get(self.layout.container)

    @cached_property
    def known(self) -> Any:
        """What its format had to find out of it before its rows."""
        return self.format.know(self)

    def at(self, path: Path) -> DataFile:
        """The same bytes at another place; what is known of them is known of these too."""
        moved = DataFile(path, self.layout)
        if "known" in vars(self):
            vars(moved)["known"] = self.known
        return moved

    def facts(self) -> dict[str, Any]:
        """What looking at it found, as JSON."""
        return {"layout": self.layout.to_json(), "stamp": self.stamp}

    @classmethod
    def of(cls, path: Path, facts: dict[str, Any]) -> DataFile:
        """The inverse of `facts`, for the file at `path`."""
        return cls(path, FileLayout(**facts["layout"]), tuple(facts["stamp"]))

    @property
    def unchanged(self) -> bool:
        """Whether the file is as it was when it was looked at. Raises FileNotFoundError if it is gone."""
        status = self.path.stat()
        return self.stamp == (status.st_size, status.st_mtime_ns)


class Format(ABC):
    """One file format. `sniff` and `records` are needed; the rest is written where the usual way does not do."""

    name: ClassVar[str]
    label: ClassVar[str]
    endings: ClassVar[tuple[str, ...]]
    """What names of its files end in, the usual one first."""
    loose_endings: ClassVar[tuple[str, ...]] = ()
    """What their names may end in, where a person chose the file."""
    family: ClassVar[str]
    """Name of the format that several of its files are joined into: files of one family can be parts of one table."""
    asked: ClassVar[int] = BY_TEXT
    unit: ClassVar[str] = "row"
    """What `Problem.line` counts."""
    writes: ClassVar[bool] = False
    """Whether `write` makes files of our own rows."""
    spreadsheet: ClassVar[bool] = False
    """Whether spreadsheets open its files, and would run what a text says: it is for rows without texts of others."""
    columnar: ClassVar[bool] = False
    """Whether rows come as batches with a schema."""
    numbered: ClassVar[bool] = False
    """Whether every file has a number in its name, as on the hub: it says nothing of a lone one."""

    @abstractmethod
    def sniff(self, head: FileHead) -> FileLayout | None:
        """The layout of a file that begins so, None if it is of another format."""

    def know(self, file: DataFile) -> Any:
        """What must be found out of a file before its rows, such as the header of a table. Raises DataError if it cannot be read."""
        return None

    def columns(self, file: DataFile, records: Sequence[RawRecord]) -> list[str]:
        """Names of the columns; `records` are the first ones."""
        return columns_of(objects_of(record.value for record in records))

    @abstractmethod
    def records(self, file: DataFile, *, columns: Sequence[str] | None = None) -> Iterator[RawRecord]:
        """All rows; where that saves time only with these columns. Raises DataError if the file as a whole cannot be read."""

    def size(self, file: DataFile, columns: Sequence[str]) -> int:
        """How much there is to read, as `cut` counts it. Raises DataError for a file that may harm whoever reads it."""
        return file.path.stat().st_size

    def unpacked(self, file: DataFile) -> int:
        """Bytes of its rows, as the file says."""
        return file.path.stat().st_size

    def lines_before(self, file: DataFile) -> int:
        """Lines before the first row."""
        return 0

    def cut(self, file: DataFile, columns: Sequence[str]) -> Iterator[Cut]:
        """All pieces, with these columns at least."""
        return of_records(self.records(file))

    def cut_on(self, file: DataFile, start: int) -> Iterator[Cut]:
        """The rest from this byte on (0: from the first row on) after a piece that `read` could not read by itself."""
        raise TypeError(f"{self.label} has no pieces of its own")

    def read(self, piece: Piece, reader: PieceReader) -> PieceRows | None:
        """The rows of a piece that holds no records. None if it does not end where it seemed to: from its start on, read in order."""
        raise TypeError(f"{self.label} has no pieces of its own")

    def batches(self, path: Path) -> Iterator[ParquetBatch]:
        """All rows of a columnar file, some at a time. Raises DataError if it is damaged or may harm whoever reads it."""
        raise TypeError(f"{self.label} has no batches")

    def notes(self, file: DataFile) -> list[tuple[str, str]]:
        """What is to be said of the file as a whole, and what becomes of it: notations that are read but are not of its kind."""
        return []

    def odd_columns(self, columns: Sequence[str]) -> tuple[str, str] | None:
        """What is to be said of its column names, if anything."""
        return None

    def without_names(self) -> str:
        """What may be wrong where no column is recognised, if this format has a reason of its own."""
        return ""

    def cleaned(self, file: DataFile) -> str:
        """What `export` makes of it, for people."""
        return f"{self.label} with the schema of the upload"

    def export(self, export: Export) -> None:
        """Write the kept rows."""
        raise DataError(f"Rows are not written as {self.label}. Import the file as JSON Lines instead, then export it.")

    def write(self, rows: pa.Table, out: BinaryIO) -> None:
        """Write rows of our own."""
        raise TypeError(f"nothing is written as {self.label}")

    def append(self, file: DataFile, first: DataFile, out: BinaryIO) -> None:
        """Write the rows as UTF-8 behind those of `first`, of which it is another part. Raises DataError if they cannot be joined."""
        raise DataError(f"{file.path.name} is {self.label}, of which parts are not joined. Import the parts one by one.")
