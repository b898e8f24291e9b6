"""What a reviewer reads next: open rows in the order asked for, found without looking at the rows that stay unread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.draw import Region
from reft_studio.audit.queue import FLAGGED_SHARE, Order, QueueItem, Why, disagreement_order, mixed, random_order
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.index.rowstore import row_store
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import ScoreSet, list_score_sets
from reft_studio.seeding import derive
from reft_studio.store.decided import Decided
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio import project
from reft_studio.studio.assurance import unapproved
from reft_studio.studio.checks import Checking
from reft_studio.studio.draws import Draws
from reft_studio.studio.row_filter import RowFilter
from reft_studio.studio.row_order import ArrayOrder, Ranked
from reft_studio.studio.row_query import ranked
from reft_studio.workspace import Workspace

SIZE, MOST = 50, 200
"""Rows of a batch, and at most."""
RANDOM_SHARE = 0.3
"""Share of a mixed batch drawn at random below the line."""
SEED = 0
FIRST_LOOK, LONGEST_LOOK = 256, 65_536
"""Ranks looked at in one step while searching for open rows; each step is twice the one before."""
NEIGHBOURS = 64
"""Ranks tried around a place among the flagged rows that turns out to be decided."""
Places = NDArray[np.int64]


@dataclass(frozen=True)
class RowsToRead:
    """Rows to read. `matching` is how many rows the filter selects, decided ones included; None without a filter."""

    items: list[QueueItem]
    order: Order
    matching: int | None = None


@dataclass(frozen=True)
class ReviewQueue:
    """The review queues of one workspace."""

    workspace: Workspace
    log: DecisionLog

    def batch(
        self, dataset_id: str, *, order: Order = "borderline", row_filter: RowFilter | None = None, size: int = SIZE, by: str = "me"
    ) -> RowsToRead:
        """The next `size` open rows: those of the filter in its order, else of the whole dataset in `order`.

        Open rows are those nobody decided; random draws also wait for a person if a bulk decision took them. With a filter on decided
        rows, those that it selects are shown. `by` is who reads: the first look at a line draws rows in that name.
        Raises SpecError for an order that the dataset does not allow.
        """
        if order not in get_args(Order):
            raise SpecError(f"The queue's order is '{str(order)[:20]}'. Choose one of: {', '.join(get_args(Order))}.")
        asked = _QueueQuestion.of(self.log, dataset_id, max(1, min(size, MOST)), by)
        if row_filter is not None:
            return asked.of_filter(row_filter, order)
        if asked.score is None or asked.threshold is None:
            return RowsToRead(asked.items([("unscored", place) for place in asked.random()]), order)
        chosen: dict[Order, Callable[[], list[QueueItem]]] = {
            "borderline": asked.by_borderline,
            "highest": asked.by_highest,
            "disagreement": asked.by_disagreement,
            "random": asked.by_random,
            "approval": asked.by_approval,
            "sample": asked.by_sample,
        }
        return RowsToRead(chosen[order](), order)


@dataclass(frozen=True)
class _QueueQuestion:
    """One question for rows to read, and what is known to answer it."""

    log: DecisionLog
    dataset: Dataset
    score: ScoreSet | None
    threshold: float | None
    decided: Decided
    ids: NDArray[np.int64]
    size: int
    by: str

    @classmethod
    def of(cls, log: DecisionLog, dataset_id: str, size: int, by: str) -> _QueueQuestion:
        workspace = log.workspace
        dataset, score = open_dataset(workspace, dataset_id), project.chosen_scores(workspace, dataset_id)
        ids = row_store(dataset).row_ids
        return cls(log, dataset, score, project.chosen_threshold(workspace, score), log.decided(dataset_id), ids, size, by)

    @property
    def workspace(self) -> Workspace:
        return self.log.workspace

    def of_filter(self, row_filter: RowFilter, order: Order) -> RowsToRead:
        """Rows that a filter selects, in its order."""
        found = self.ranked(row_filter)
        if row_filter.decided in ("any", "open"):
            places = _first(found, self.open, self.size)
        else:
            places = np.asarray(found.page(0, self.size), dtype=np.int64)
        return RowsToRead(self.items([("filter", place) for place in places.tolist()]), order, len(found))

    def by_borderline(self) -> list[QueueItem]:
        """Nearest the line, random draws from both sides of it, and flagged rows of every score, spread evenly; unscored rows last."""
        below, above = self.drawn("below", round(self.size * RANDOM_SHARE)), self.drawn("above", round(self.size * FLAGGED_SHARE))
        spread = self.spread(round(self.size * FLAGGED_SHARE) - len(above))
        taken = np.unique(np.concatenate([below, above, spread]))
        spread = spread[~np.isin(spread, above)]
        rest = self.size - len(taken)
        near = _first(self.ranked(RowFilter(order="borderline")), self.open, rest, without=taken, scored=self.values())
        order = mixed({"borderline": near, "random": below, "precision": above, "flagged": spread})
        rest = self.size - len(order)
        without = _first(self.ranked(RowFilter(side="unscored")), self.open, rest) if rest else near[:0]
        return self.items(order + [("unscored", int(place)) for place in without])

    def by_highest(self) -> list[QueueItem]:
        places = _first(self.ranked(RowFilter(order="score")), self.open, self.size)
        return self.items([("highest", place) for place in places.tolist()])

    def by_random(self) -> list[QueueItem]:
        return self.items([("anywhere", place) for place in self.random()])

    def by_sample(self) -> list[QueueItem]:
        """Rows drawn from the whole file that nobody read; the first look draws them."""
        assert self.score is not None, "an unscored dataset is read in a random order as it is"
        rows = Draws(self.log, self.score, self.threshold or 0.0).sample_to_read(by=f"human:{self.by}")
        places = row_store(self.dataset).positions(rows[: self.size])
        return self.items([("sample", place) for place in places.tolist()])

    def by_disagreement(self) -> list[QueueItem]:
        """Rows that the scores in use and the newest other ones judge differently."""
        score, threshold = self.score, self.threshold
        others = [one for one in list_score_sets(self.workspace, self.dataset.id) if score is not None and one.key != score.key]
        if score is None or threshold is None or not others:
            raise SpecError("Only one scorer has scored this dataset, so none disagrees. Score it with a second one on the Filter page.")
        line = project.chosen_threshold(self.workspace, others[-1])
        places = disagreement_order(score.scores(), threshold, others[-1].scores(), others[-1].threshold if line is None else line)
        return self.items([("disagreement", place) for place in _first(ArrayOrder(places), self.open, self.size).tolist()])

    def random(self) -> list[int]:
        """The first open rows of a random order of all rows."""
        found: list[int] = []
        for block in random_order(self.dataset.rows, seed=SEED):
            found += block[self.open(block)].tolist()
            if len(found) >= self.size:
                break
        return found[: self.size]

    def by_approval(self) -> list[QueueItem]:
        """Decided rows that wait for a second person, without those that this one decided."""
        waiting = unapproved(self.workspace, self.log, self.dataset.id, self.score, self.threshold)
        rows: list[int] = []
        for start in range(0, len(waiting), MOST):
            some = waiting[start : start + MOST].tolist()
            opinions = self.log.opinions_of(self.dataset.id, some)
            rows += [row for row in some if all(one.by != f"human:{self.by}" for one in opinions.get(row, []))]
            if len(rows) >= self.size:
                break
        places = row_store(self.dataset).positions(np.array(rows[: self.size], dtype=np.int64))
        return self.items([("approval", place) for place in places.tolist()])

    def drawn(self, region: Region, count: int) -> Places:
        """Random draws from one side of the line that nobody read, in the order in which they are to be read.

        Once all were read and the claim needs more, that many more are drawn: how many is fixed before any of them is seen.
        """
        if self.score is None or self.threshold is None or not self.score.finished:
            return np.zeros(0, dtype=np.int64)
        sampling = Draws(self.log, self.score, self.threshold)
        rows = sampling.to_read(region, by=f"human:{self.by}")
        if not len(rows) and region == "below":
            below = sampling.standing().below
            if below and below.review_more and below.sampled < below.population:
                rows = np.array(sampling.draw(region, count=below.review_more, by=f"human:{self.by}").rows, dtype=np.int64)
        rows = rows[:count]
        return np.where(rows < 0, rows, row_store(self.dataset).positions(np.maximum(rows, 0)))  # a check is nowhere in the file

    def spread(self, count: int) -> Places:
        """One open row from each of `count` equal slices of the flagged rows, from the highest score down."""
        found = self.ranked(RowFilter(side="flagged"))
        if not len(found) or count <= 0:
            return np.zeros(0, dtype=np.int64)
        rng = np.random.default_rng(derive(SEED, "flagged strata"))
        edges = np.linspace(0, len(found), min(count, len(found)) + 1).astype(np.int64)
        places: list[int] = []
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            near = np.asarray(found.page(int(rng.integers(start, end)), min(NEIGHBOURS, end - start)), dtype=np.int64)
            places += [place for place in near[self.open(near)].tolist() if place not in places][:1]
        return np.array(places, dtype=np.int64)

    def ranked(self, row_filter: RowFilter) -> Ranked:
        return ranked(self.workspace, self.dataset, self.score, self.threshold, row_filter, self.decided)

    def open(self, places: Places) -> NDArray[np.bool_]:
        """Which of these positions nobody decided."""
        return np.asarray(self.decided.code_of(self.ids[places]) == 0)

    def values(self) -> NDArray[np.float32]:
        if self.score is None:
            return np.full(self.dataset.rows, np.nan, dtype=np.float32)
        return self.score.scores()

    def items(self, order: list[tuple[Why, int]]) -> list[QueueItem]:
        """Positions, and checks by their negative ids, as what the page shows of them."""
        values = self.values() if self.score else np.full(len(self.ids), np.nan)
        checks = self.checks([place for _, place in order if place < 0])
        rows = [
            (why, place, int(self.ids[place]), float(values[place])) if place >= 0 else (why, place, place, 0.0) for why, place in order
        ]
        return [
            QueueItem(row_id, why, None if np.isnan(value) else value, row_id)
            if place >= 0
            else QueueItem(row_id, why, checks[place][1], checks[place][0])
            for why, place, row_id, value in rows
        ]

    def checks(self, ids: list[int]) -> dict[int, tuple[int, float | None]]:
        """By id the number and score that a check is shown with."""
        if not ids or self.score is None or self.threshold is None:
            return {}
        return Checking(Draws(self.log, self.score, self.threshold)).shown(ids)


def _first(
    found: Ranked,
    wanted: Callable[[Places], NDArray[np.bool_]],
    count: int,
    *,
    without: Places | None = None,
    scored: NDArray[np.float32] | None = None,
) -> Places:
    """The first `count` ranks that pass the test, are not in `without`, and have a score in `scored`."""
    places: list[Places] = []
    missing = count
    for page in _pages(found):
        page = page[wanted(page)]
        if without is not None:
            page = page[~np.isin(page, without)]
        if scored is not None:
            page = page[~np.isnan(scored[page])]
        places.append(page[:missing])
        missing -= len(places[-1])
        if missing <= 0:
            break
    return np.concatenate(places) if places else np.zeros(0, dtype=np.int64)


def _pages(found: Ranked) -> Iterator[Places]:
    offset, step = 0, FIRST_LOOK
    while offset < len(found):
        yield np.asarray(found.page(offset, step), dtype=np.int64)
        offset, step = offset + step, min(2 * step, LONGEST_LOOK)
