"""What the Filter page measures beside its counts: slices, another line or scorer, drift, calibration, rows without a score.

Everything is sent as counts on the 0.001 grid, so that the browser follows the line without asking again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.drift import Drift, drift
from reft_studio.audit.overlap import longest_prompt
from reft_studio.audit.threshold import Calibration
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.index.facets import LENGTH_ENDS, banded, facet, facet_names
from reft_studio.errors import SpecError, StoreError
from reft_studio.scoring.prepared import Prepared, open_prepared
from reft_studio.scoring.scores import BINS, CHUNK, NO_BIN, ScoreSet, binned, grid, open_score_set, sparse
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.workspace import Workspace

MOST_SLICES = 40
"""Labels of a facet that are told apart; the rarest beyond are counted together."""
TRUTHS = 3


@dataclass(frozen=True)
class Slice:
    """Rows of one label: `rows` of all, and [bin, rows, known harmful, known harmless] of those with a score.

    `labels` is how many labels were counted together (1: this one).
    """

    label: str
    rows: int
    bins: list[list[int]]
    labels: int = 1


@dataclass(frozen=True)
class Sliced:
    """A facet's slices, largest first."""

    name: str
    title: str
    slices: list[Slice]


@dataclass(frozen=True)
class Changes:
    """Rows that another line or scorer treats otherwise, by truth (harmful, harmless, unlabelled): `added` are flagged only there."""

    both: list[int]
    added: list[int]
    dropped: list[int]
    neither: list[int]
    unscored: int


@dataclass(frozen=True)
class Shift:
    """The calibration as sparse [bin, prompts] by kind, and how the file differs from it.

    `excluded` prompts were left out since the file holds them too. `unfamiliar` is the share of the file's words (0 to 1) that the
    lab's language lacks (None: another model). `longer` is the share of rows in a higher band of prompt characters than any calibration
    prompt (None: its prompts are not known). `same_template` is None where nobody noted the template.
    """

    harmful: list[list[int]]
    harmless: list[list[int]]
    excluded: int
    drift: Drift | None
    unfamiliar: float | None
    longer: float | None
    same_template: bool | None


class Measures:
    """The numbers of one workspace's score sets."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def facets(self, dataset_id: str) -> list[str]:
        """Facets that there are now, but for the truth, which is counted everywhere."""
        return [name for name in facet_names(open_dataset(self.workspace, dataset_id)) if name != "truth"]

    def slices(self, dataset_id: str, key: str, name: str) -> Sliced:
        """Counts by label of a facet. Raises SpecError if there is no such facet (yet)."""
        dataset, score = self._opened(dataset_id, key)
        return _sliced(dataset, score, name, score.stamp())

    def changes(self, dataset_id: str, key: str, threshold: float, *, other_key: str, other_threshold: float) -> Changes:
        """How a line differs from another one, on the same or on other scores of the same rows."""
        dataset, score = self._opened(dataset_id, key)
        other = open_score_set(self.workspace, dataset_id, other_key)
        if other.rows != score.rows:
            raise StoreError(f"The two sets of scores have {score.rows:,} and {other.rows:,} rows. Score the dataset again.")
        here, there = int(grid(threshold)), int(grid(other_threshold))
        if other.key == score.key:
            return _moved(_by_truth(dataset, score, score.stamp()), here, there, unscored=score.missing)
        return _changed(_joint(dataset, score, other, (score.stamp(), other.stamp())), here, there, rows=score.rows)

    def shift(self, dataset_id: str, key: str) -> Shift | None:
        """The calibration of the scorer beside the file; None if it has none. The first call reads the prompts once."""
        dataset, score = self._opened(dataset_id, key)
        prepared = open_prepared(self.workspace, score.teacher)
        try:
            calibration = Calibration.of(prepared, dataset)
        except StoreError:
            return None
        counts = kinds(calibration)
        return Shift(
            harmful=_pairs(counts[0]),
            harmless=_pairs(counts[1]),
            excluded=calibration.excluded,
            drift=drift(by_truth(dataset, score), counts),
            unfamiliar=score.info.get("unfamiliar_share") if prepared.is_lab else None,
            longer=_longer(dataset, prepared),
            same_template=_same_template(score, prepared),
        )

    def unscored(self, dataset_id: str, key: str) -> list[tuple[str, int]]:
        """Why rows have no score, most frequent first; empty if all have one."""
        score = self._opened(dataset_id, key)[1]
        told: dict[str, int] = score.info.get("missing_reasons", {})
        named = sorted(told.items(), key=lambda one: -one[1])
        rest = score.unscored - sum(told.values())
        return [*named, ("the scorer did not say why", rest)] if rest > 0 else named

    def _opened(self, dataset_id: str, key: str) -> tuple[Dataset, ScoreSet]:
        return open_dataset(self.workspace, dataset_id), open_score_set(self.workspace, dataset_id, key)


def by_truth(dataset: Dataset, score: ScoreSet) -> NDArray[np.int64]:
    """(3, BINS) scored rows by truth: harmful, harmless, unlabelled; counted once."""
    return _by_truth(dataset, score, score.stamp())


def kinds(calibration: Calibration) -> NDArray[np.int64]:
    """(2, BINS) calibration prompts, harmful and harmless."""
    return np.stack([np.bincount(bins, minlength=BINS) for bins in (calibration.harmful, calibration.harmless)])


def _truth(dataset: Dataset) -> NDArray[np.uint8]:
    """(rows,) 0 harmful, 1 harmless, 2 unlabelled."""
    found = facet(dataset, "truth")
    if found is None:
        raise StoreError(f"The labels of '{dataset.name}' cannot be read. Import the file again.")
    return found.codes


@lru_cache(maxsize=16)
def _by_truth(dataset: Dataset, score: ScoreSet, _stamp: int) -> NDArray[np.int64]:
    """(3, BINS) scored rows by truth."""
    return binned(score.bins(), _truth(dataset), TRUTHS)


@lru_cache(maxsize=32)
def _sliced(dataset: Dataset, score: ScoreSet, name: str, _stamp: int) -> Sliced:
    found = facet(dataset, name)
    if found is None:
        raise SpecError(f"'{name}' is known once the dataset has been inspected. The Data page shows how far that is.")
    rows = found.counts()
    ranked = np.argsort(-rows, kind="stable")[: int(np.count_nonzero(rows))]
    shown = ranked if len(ranked) <= MOST_SLICES else ranked[: MOST_SLICES - 1]
    place = np.full(len(found.labels), len(shown), dtype=np.uint8)  # the labels that are not told apart share the last place
    place[shown] = np.arange(len(shown), dtype=np.uint8)
    counts = _by_label(score.bins(), found.codes, _truth(dataset), place, len(shown) + 1)
    slices = [Slice(found.labels[code], int(rows[code]), sparse(counts[at])) for at, code in enumerate(shown.tolist())]
    rest = ranked[len(shown) :]
    if len(rest):
        slices.append(Slice("all other labels", int(rows[rest].sum()), sparse(counts[-1]), len(rest)))
    return Sliced(found.name, found.title, slices)


def _by_label(
    bins: NDArray[np.uint16], codes: NDArray[np.uint8], truth: NDArray[np.uint8], place: NDArray[np.uint8], places: int
) -> NDArray[np.int64]:
    """(places, 3, BINS) scored rows by place of their label and truth."""
    wide = BINS + 1
    counts = np.zeros(places * TRUTHS * wide, dtype=np.int64)
    for start in range(0, len(bins), CHUNK):
        part = slice(start, start + CHUNK)
        cells = place[codes[part]].astype(np.int64) * TRUTHS + truth[part]
        counts += np.bincount(cells * wide + bins[part], minlength=len(counts))
    return counts.reshape(places, TRUTHS, wide)[:, :, :BINS]


@lru_cache(maxsize=1)
def _joint(dataset: Dataset, score: ScoreSet, other: ScoreSet, _stamps: tuple[int, int]) -> NDArray[np.int32]:
    """(3, BINS + 1, BINS + 1) rows of each truth at or above a bin of `score` and one of `other`: 48 MB, whatever the number of rows."""
    wide = BINS + 1
    truth, bins, others = _truth(dataset), score.bins(), other.bins()
    counts = np.zeros(TRUTHS * wide * wide, dtype=np.int32)
    for start in range(0, len(bins), CHUNK):
        part = slice(start, start + CHUNK)
        scored = (bins[part] != NO_BIN) & (others[part] != NO_BIN)
        cells, rows = np.unique(((truth[part].astype(np.int32) * wide + bins[part]) * wide + others[part])[scored], return_counts=True)
        counts[cells] += rows.astype(np.int32)
    table = counts.reshape(TRUTHS, wide, wide)
    for axis in (1, 2):
        np.cumsum(np.flip(table, axis), axis=axis, out=np.flip(table, axis), dtype=np.int32)
    return table


def _changed(joint: NDArray[np.int32], here: int, there: int, *, rows: int) -> Changes:
    """Read off the four corners that two lines cut the rows into."""
    every, above, across = joint[:, 0, 0], joint[:, here, 0], joint[:, 0, there]
    both = joint[:, here, there]
    parts = (both, across - both, above - both, every - above - across + both)
    kept = [[int(count) for count in part] for part in parts]
    return Changes(kept[0], kept[1], kept[2], kept[3], unscored=rows - int(every.sum()))


def _moved(by_truth: NDArray[np.int64], here: int, there: int, *, unscored: int) -> Changes:
    """The same for two lines on one axis."""
    high, low = max(here, there), min(here, there)
    both, between, neither = (part.sum(axis=1).tolist() for part in np.split(by_truth, [low, high], axis=1)[::-1])
    none = [0] * TRUTHS
    added, dropped = (between, none) if there < here else (none, between)
    return Changes(both, added, dropped, neither, unscored)


def _pairs(counts: NDArray[np.int64]) -> list[list[int]]:
    places = np.flatnonzero(counts)
    found: list[list[int]] = np.column_stack([places, counts[places]]).tolist()
    return found


def _same_template(score: ScoreSet, prepared: Prepared) -> bool | None:
    used = score.info.get("template_hash")
    return used == prepared.template_hash if used and isinstance(prepared, TeacherInfo) else None


def _longer(dataset: Dataset, prepared: Prepared) -> float | None:
    length, most = facet(dataset, "length"), longest_prompt(prepared)
    if length is None or most is None:
        return None
    band = int(banded(np.array([most]), LENGTH_ENDS)[0])
    return float(length.counts()[band + 1 :].sum() / max(1, dataset.rows))
