"""One pass over an upload: its usable rows as batches, everything else set aside and counted."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from reft_studio.data.formats.piece_reader import ReadingSpec
from reft_studio.data.formats.pieces import Cut
from reft_studio.data.reading.import_pool import Here, ReaderPool, readers
from reft_studio.data.rows.quarantine import Quarantine
from reft_studio.data.rows.row_columns import PieceRows
from reft_studio.errors import DataError


@dataclass
class ImportPass:
    """The rows of one upload, with their counts."""

    reading: ReadingSpec
    name: str
    """Of the upload, for messages."""
    quarantine: Quarantine
    progress: Callable[[int, int | None], None]
    check: Callable[[], None]
    count: int = 0
    multi_turn: int = 0
    empty_responses: int = 0
    hashes: array[int] = field(default_factory=lambda: array("q"))
    """One number per row: 8 bytes, so that ten million rows are counted in 80 MB."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The usable rows in order. Raises DataError at the end if there was none."""
        file = self.reading.file
        columns = list(self.reading.mapping.columns.values())
        total = file.format.size(file, columns)
        self.check()
        self.progress(0, total)
        with readers(self.reading) as pool:
            for part, done in self._placed(pool, file.format.cut(file, columns)):
                self.check()
                self.progress(min(done, total), total)
                if part.batch.num_rows:
                    yield part.batch
        if self.count == 0:
            raise DataError(self._hopeless())
        self.progress(total, total)

    def _placed(self, pool: Here | ReaderPool, cuts: Iterable[Cut]) -> Iterator[tuple[PieceRows, int]]:
        """Parts with their ids and lines as in the whole upload, and how much of it lies behind them."""
        ids, lines, before = 0, self.reading.file.format.lines_before(self.reading.file), 0
        for one, part in pool.parts(cuts):
            if part is None:
                yield from self._carefully(before, ids, lines)
                return
            before = one.done
            if one.piece.records is None:  # records know their places
                part = part.placed(ids, lines)
            yield self._counted(part), one.done
            ids += part.ids
            lines += part.lines

    def _carefully(self, start: int, ids: int, lines: int) -> Iterator[tuple[PieceRows, int]]:
        """The rest of the file from this byte on, record by record."""
        for one, part in Here(self.reading).parts(self.reading.file.format.cut_on(self.reading.file, start)):
            if part is not None:
                yield self._counted(part.placed(ids, lines)), one.done

    def _counted(self, part: PieceRows) -> PieceRows:
        for problem in part.problems:
            self.quarantine.add(problem)
        self.count += part.batch.num_rows
        self.multi_turn += part.multi_turn
        self.empty_responses += part.empty_responses
        self.hashes.frombytes(part.hashes.tobytes())
        return part

    @property
    def duplicates(self) -> int:
        """Rows that repeat an earlier one."""
        return self.count - len(np.unique(np.frombuffer(self.hashes, dtype=np.int64)))

    def _hopeless(self) -> str:
        reasons = self.quarantine.errors.most_common(3)
        unit = self.reading.file.format.unit
        told = "; ".join(f"{reason} ({count}, first at {unit} {self.quarantine.examples[reason][0]})" for reason, count in reasons)
        count = sum(self.quarantine.errors.values())
        return f"{self.name}: none of its {count} rows can be used. Reasons: {told}. Correct the file or the choice of columns."
