"""Snapshots of unfinished scores, which the app reads like finished ones; and the order in which a slow scorer takes rows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from reft_studio.data.dataset import Dataset
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import PARTIAL, ScoreSet, facts_of, list_score_sets, write_arrays
from reft_studio.scoring.shards import NOT_REACHED, REASONS
from reft_studio.scoring.work import Scored
from reft_studio.workspace import Workspace, new_folder, write_json

EVERY_S = 1.0
"""Minimum seconds between two snapshots."""
SHARE = 0.05
"""Maximum share of time spent on snapshots: those of millions of rows are less frequent."""
KEPT = 3
"""Snapshots kept, for pages that are reading an older one."""
QUICK = "tfidf"
"""The scorer whose scores determine which rows others take first."""


class ScoreHeader(TypedDict):
    """Identity of scores, finished or not."""

    key: str
    scorer: str
    teacher: str
    threshold: float


class PartialScores:
    """Writes the content of `result` as `scores/<dataset>/<key>.partial/<number>`; each snapshot is atomic and immutable."""

    def __init__(self, workspace: Workspace, dataset: Dataset, result: Scored, **header: Unpack[ScoreHeader]) -> None:
        self.dataset, self.result, self._header = dataset, result, header
        self.folder = workspace.folder("scores", dataset.id, f"{header['key']}{PARTIAL}")
        self._next = 0.0

    @property
    def due(self) -> bool:
        """Whether another snapshot is due."""
        return time.monotonic() >= self._next

    def write(self) -> None:
        """Write a snapshot of the rows so far, and delete all but the last older ones."""
        began, older = time.monotonic(), self._numbers()
        scores, reasons = self.result.scores, self.result.reasons
        with new_folder(self.folder / f"{older[-1] + 1 if older else 1:08}") as building:
            waiting = reasons == NOT_REACHED
            write_arrays(building, self.dataset, scores, reasons, REASONS, after=1 + waiting.astype(np.float32))
            missing_reasons = {
                name: count for code, name in REASONS.items() if code != NOT_REACHED and (count := int((reasons == code).sum()))
            }
            info = {"reached": int((~waiting).sum()), "missing_reasons": missing_reasons}
            write_json(building / "scorer.json", facts_of(self.dataset, scores, self._header, info))
        for number in older[: 1 - KEPT]:
            shutil.rmtree(self.folder / f"{number:08}", ignore_errors=True)
        now = time.monotonic()
        self._next = now + max(EVERY_S, (now - began) / SHARE)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Deletes the snapshots when the block succeeds: the finished scores exist then. After a stop the last one remains."""
        try:
            yield
        except BaseException:
            if (self.result.reasons != NOT_REACHED).any():
                self.write()
            raise
        shutil.rmtree(self.folder, ignore_errors=True)

    def _numbers(self) -> list[int]:
        return sorted(int(path.name) for path in self.folder.glob("*") if path.name.isdecimal())


def require_finished(score: ScoreSet | None, wish: str) -> None:
    """Raise SpecError if rows are still to be scored; `wish` completes 'so … must wait'."""
    if score is not None and not score.finished:
        raise SpecError(
            f"Only {score.reached:,} of {score.rows:,} rows are scored so far, those that look most harmful first, so {wish} must wait. "
            "Let the scoring on the Filter page end, or go on with it there, or choose finished scores."
        )


def quick_scores(workspace: Workspace, dataset: Dataset) -> NDArray[np.float32] | None:
    """(rows,) the newest text scores (tfidf), which determine where a slow scorer begins; None if there are none."""
    quick = [
        score_set
        for score_set in list_score_sets(workspace, dataset.id)
        if score_set.scorer == QUICK and score_set.finished and score_set.rows == dataset.rows
    ]
    return quick[-1].scores() if quick else None
