"""Random draws for the line in use: made and recorded before anybody sees a row, and what they say."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.assurance import Standing, standing
from reft_studio.audit.checks import USUAL, CheckReading, number_of, with_checks
from reft_studio.audit.claim import first_draw
from reft_studio.audit.draw import MOST, Draw, Region, ThresholdSide, is_honest, make, pending
from reft_studio.audit.held import UNSURE, Decided
from reft_studio.audit.record import AuditRecord
from reft_studio.audit.sample import EVERYWHERE, WANTED, Sample, no_sample, sample_of
from reft_studio.errors import StoreError
from reft_studio.scoring.partial import require_finished
from reft_studio.scoring.scores import ScoreSet, open_score_set
from reft_studio.store import records, settings
from reft_studio.store.decisions import DecisionLog
from reft_studio.workspace import Workspace

CONFIDENCE, TARGET = 0.95, 0.01
"""What the first draw for a line is large enough to claim, if no drawn row is harmful."""
ABOVE = 100
"""Rows of the first draw above a line: precision to about 10 points."""


class _DrawnAlready(Exception):
    """There is a first draw for this line."""


@dataclass(frozen=True)
class Draws:
    """The draws of one dataset."""

    log: DecisionLog
    score: ScoreSet
    threshold: float

    @property
    def workspace(self) -> Workspace:
        return self.log.workspace

    def draws(self) -> list[Draw]:
        """All draws of the dataset, oldest first."""
        return [Draw.of(record.content()) for record in records.of_kind(self.workspace, self.score.dataset, "draw")]

    def read(self, draws: list[Draw]) -> Decided:
        """The decisions on drawn rows that were made one row at a time, and on checks; a row on which two people differ is in doubt."""
        rows = {row for draw in draws for row in (*draw.rows, *draw.seen)}
        found = self.log.read_singly(self.score.dataset, rows)
        disputed = np.isin(found.row_ids, self.log.conflicts(self.score.dataset))
        found = replace(found, codes=np.where(disputed, np.uint8(UNSURE), found.codes)) if disputed.any() else found
        return with_checks(found, self.readings())

    def readings(self) -> list[CheckReading]:
        """Decisions on checks of the dataset whose text was seen, oldest first."""
        made = (record for record in records.of_kind(self.workspace, self.score.dataset, "check"))
        return [CheckReading(one["check"], one["code"], record.by) for record in made if (one := record.content())["seen"]]

    @property
    def wanted_checks(self) -> int:
        """Checks of a first draw below a line; 0 where readers are taken to overlook nothing."""
        return int(settings.get(self.workspace, "checks", USUAL))

    def draw(self, region: Region, *, count: int | None, by: str, first: bool = False) -> Draw:
        """Draw and record `count` more rows on one side of the line; None: as many as a first claim needs.

        With `first`, nothing is drawn if somebody has drawn for this line a moment ago: _DrawnAlready is raised.
        """
        require_finished(self.score, "a random draw")
        wanted = self.wanted_checks if region == "below" else 0
        size = count or (first_draw(confidence=CONFIDENCE, target=TARGET, checks=wanted) if region == "below" else ABOVE)
        made: list[Draw] = []

        def body(before: list[AuditRecord], head: tuple[int, str]) -> dict[str, object]:
            known = [Draw.of(record.content()) for record in before]
            here = [draw for draw in known if draw.place == ThresholdSide.at(self.score, self.threshold, region)]
            if first and here:
                raise _DrawnAlready
            checks = partial(checks_of, wanted, here[0] if here else None)
            made.append(
                make(self.score, self.threshold, region, count=size, before=known, decided=self.read(known), head=head, checks=checks)
            )
            return made[0].as_dict()

        records.append(self.workspace, self.score.dataset, "draw", by, body)
        return made[0]

    def to_read(self, region: Region, *, by: str) -> NDArray[np.int64]:
        """Drawn rows of this line and checks (negative) that nobody read yet, in their order; the first draw is made here."""
        line, draws = ThresholdSide.at(self.score, self.threshold, region), self.draws()
        if not any(draw.place == line for draw in draws):
            if not line.rows(self.score):
                return np.zeros(0, dtype=np.int64)
            try:
                draws = [*draws, self.draw(region, count=None, by=by, first=True)]
            except _DrawnAlready:  # two people opened the queue at once: theirs is the draw for both
                draws = self.draws()
        return pending(draws, line, self.read(draws))

    def waiting(self, region: Region) -> NDArray[np.int64]:
        """`to_read` without drawing."""
        draws = self.draws()
        return pending(draws, ThresholdSide.at(self.score, self.threshold, region), self.read(draws))

    def sample(self) -> Sample:
        """Rows drawn from the whole file, as far as they are read; the line plays no part."""
        draws = self.draws()
        return sample_of(self.score, draws, self.read(draws)) if draws else no_sample(self.score.rows - self.score.missing)

    def draw_sample(self, *, count: int = WANTED, by: str) -> Draw:
        """Draw and record `count` more rows of the whole file. Raises SpecError if all were drawn."""
        return replace(self, threshold=EVERYWHERE).draw("above", count=count, by=by)

    def sample_to_read(self, *, by: str) -> NDArray[np.int64]:
        """Rows of that draw that nobody read yet, in their order; as long as the sample says nothing, rows are drawn for it."""
        everywhere = replace(self, threshold=EVERYWHERE)
        waiting = everywhere.waiting("above")
        sample = self.sample()
        if not len(waiting) and sample.read < sample.wanted:
            return np.array(self.draw_sample(count=sample.wanted - sample.read, by=by).rows, dtype=np.int64)
        return waiting

    def standing(self) -> Standing:
        """What can be said about this line now."""
        draws = self.draws()
        read = self.read(draws)
        return standing(self.score, self.threshold, draws, read, confidence=CONFIDENCE, target=TARGET, checks=self.wanted_checks)


def checks_of(wanted: int, first: Draw | None, rows: int) -> int:
    """Checks of a draw of so many rows: as many as are wanted of the first one for a line, then as many for each row as that has.

    A line whose first draw has none gets none later: its claim would begin anew.
    """
    if first is not None and not first.checks:
        return 0
    if wanted and first is not None:
        wanted = -(-len(first.checks) * rows // len(first.rows))
    return number_of(rows, wanted)


def dishonest(workspace: Workspace) -> str | None:
    """The first draw whose rows are not those that its seed gives, in words; None if all are. Draws of scores that are gone pass."""
    before: dict[str, list[Draw]] = {}
    for record in records.entries(workspace):
        if record.kind != "draw":
            continue
        draw, known = Draw.of(record.content()), before.setdefault(record.dataset, [])
        known.append(draw)
        with suppress(StoreError):  # the dataset, or these scores of it, were deleted
            if not is_honest(draw, open_score_set(workspace, record.dataset, draw.score_key), known[:-1]):
                return f"The rows of draw {record.seq} are not those that its seed gives: the scores were changed, or the rows were chosen."
    return None


__all__ = ["ABOVE", "CONFIDENCE", "MOST", "TARGET", "Draws", "dishonest"]
