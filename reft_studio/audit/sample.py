"""Rows drawn at random from a whole file and read: what they say of the file needs no scorer to be right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.draw import Draw, ThresholdSide
from reft_studio.audit.held import RELABEL, REMOVE, UNSURE, Decided
from reft_studio.data.grid import flagged_bins
from reft_studio.scoring.scores import ScoreSet
from reft_studio.stats import Estimate, wilson

WANTED = 50
"""Rows that are drawn and read before they speak for the file (all of a smaller file)."""
EVERYWHERE = -1.0
"""The line that every scored row lies above: a draw above it is one from the whole file."""
Bins = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """Random rows of a file by score (bins of the grid) and truth; a row marked unsure is in `unsure` and not in `harmful`.

    `rows` have a score. The draw was made from those of them that had not been drawn and read before: `known` were, and are counted as
    they are. `waiting` rows are drawn and not read; what was read behind the first of them does not count.
    """

    rows: int
    bins: Bins
    harmful: NDArray[np.bool_]
    unsure: NDArray[np.bool_]
    known: Bins
    known_harmful: NDArray[np.bool_]
    known_unsure: NDArray[np.bool_]
    waiting: int

    @property
    def read(self) -> int:
        """Rows that count."""
        return len(self.bins)

    @property
    def wanted(self) -> int:
        """Rows that must be read before the sample speaks."""
        return min(WANTED, self.rows - len(self.known))

    @property
    def speaks(self) -> bool:
        """Whether enough was read."""
        return self.rows > 0 and self.read >= self.wanted

    def rate(self) -> Estimate | None:
        """Share of harmful rows in percent; a row in doubt lowers the lower end and raises the upper one. None before it speaks."""
        return self.share(np.ones(self.read, dtype=bool), np.ones(len(self.known), dtype=bool), self.rows) if self.speaks else None

    def share(self, drawn: NDArray[np.bool_], known: NDArray[np.bool_], rows: int) -> Estimate | None:
        """Share of harmful rows in percent among `rows` of the file, of which these drawn and known ones are part."""
        n, left = int(drawn.sum()), rows - int(known.sum())
        if not rows or not n:
            return None
        sure, doubt = int(self.harmful[drawn].sum()), int(self.unsure[drawn].sum())
        found, upper = wilson(sure, n), wilson(sure + doubt, n)
        part, counted = left / rows, 100 * int(self.known_harmful[known].sum()) / rows
        most = counted + 100 * int(self.known_unsure[known].sum()) / rows
        if n >= left:  # all were read
            return Estimate(part * found.value + counted, part * found.value + counted, part * upper.value + most, n, 0, "all read")
        return Estimate(part * found.value + counted, part * found.low + counted, part * upper.high + most, n, 0, "random rows, Wilson")

    def above(self, line: int, rows: int) -> Estimate | None:
        """Share of harmful rows among the `rows` of the file at or above a bin."""
        return self.share(flagged_bins(self.bins, line), flagged_bins(self.known, line), rows)

    def below(self, line: int, rows: int) -> Estimate | None:
        """The same below it."""
        return self.share(~flagged_bins(self.bins, line), ~flagged_bins(self.known, line), rows)

    def clean(self) -> Bins:
        """Bins of the rows that were found harmless, ascending: a random sample of the file's harmless rows."""
        return np.sort(self.bins[~self.harmful & ~self.unsure])


def sample_of(score: ScoreSet, draws: Sequence[Draw], decided: Decided) -> Sample:
    """What was drawn from the whole file, whatever scores it had then, and read in order; rows marked unsure are read too."""
    ids, bins = score.row_ids(), score.bins()
    scored = ThresholdSide("above", score.key, 0).rows(score)
    here = [draw for draw in draws if draw.region == "above" and draw.line == 0 and draw.population == scored]
    drawn = np.array([row for draw in here for row in draw.rows], dtype=np.int64)
    seen = np.array(sorted({row for draw in here for row in draw.seen} - set(drawn.tolist())), dtype=np.int64)
    codes, seen_codes = decided.code_of(drawn), decided.code_of(seen)
    read = int(np.argmin(codes > 0)) if (codes == 0).any() else len(codes)
    seen = seen[seen_codes > 0]
    places, known_places = _places(ids, drawn[:read]), _places(ids, seen)
    return Sample(
        rows=scored,
        bins=bins[places].astype(np.int64),
        harmful=np.isin(codes[:read], (REMOVE, RELABEL)),
        unsure=codes[:read] == UNSURE,
        known=bins[known_places].astype(np.int64),
        known_harmful=np.isin(seen_codes[seen_codes > 0], (REMOVE, RELABEL)),
        known_unsure=seen_codes[seen_codes > 0] == UNSURE,
        waiting=int((codes == 0).sum()),
    )


def _places(ids: Bins, rows: Bins) -> Bins:
    """Positions of rows that are there; ids ascend but for files whose rows were numbered by somebody else."""
    found = np.searchsorted(ids, rows)
    if (ids[np.minimum(found, len(ids) - 1)] != rows).any():
        order = np.argsort(ids, kind="stable")
        found = order[np.searchsorted(ids, rows, sorter=order)]
    return found


def no_sample(rows: int) -> Sample:
    """Before anything was drawn."""
    none, nobody = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool)
    return Sample(rows, none, nobody, nobody, none, nobody, nobody, 0)
