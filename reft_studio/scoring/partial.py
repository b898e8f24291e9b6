"""Scores while they are being made: snapshots that the app reads like any scores, and which rows a slow scorer takes first."""

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
"""Seconds between two snapshots, at least."""
SHARE = 0.05
"""Of the time that goes into snapshots, at most: those of millions of rows come less often."""
HELD = 3
"""Snapshots that stay, for pages that are reading an older one."""
QUICK = "tfidf"
"""The scorer whose scores say which rows another one takes first."""


class ScoreHeader(TypedDict):
    """What stands over scores, finished or not."""

    key: str
    scorer: str
    teacher: str
    threshold: float


class PartialScores:
    """Writes what `result` holds as `scores/<dataset>/<key>.partial/<number>`, each whole and never changed again."""

    def __init__(self, workspace: Workspace, dataset: Dataset, result: Scored, **made: Unpack[ScoreHeader]) -> None:
        self.dataset, self.result, self._made = dataset, result, made
        self.folder = workspace.folder("scores", dataset.id, f"{made['key']}{PARTIAL}")
        self._next = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time for another snapshot."""
        return time.monotonic() >= self._next

    def write(self) -> None:
        """Keep a snapshot of the rows so far, and of older ones the last."""
        began, older = time.monotonic(), self._numbers()
        scores, reasons = self.result.scores, self.result.reasons
        with new_folder(self.folder / f"{older[-1] + 1 if older else 1:08}") as building:
            waiting = reasons == NOT_REACHED
            write_arrays(building, self.dataset, scores, reasons, REASONS, after=1 + waiting.astype(np.float32))
            told = {name: count for code, name in REASONS.items() if code != NOT_REACHED and (count := int((reasons == code).sum()))}
            info = {"reached": int((~waiting).sum()), "missing_reasons": told}
            write_json(building / "scorer.json", facts_of(self.dataset, scores, self._made, info))
        for number in older[: 1 - HELD]:
            shutil.rmtree(self.folder / f"{number:08}", ignore_errors=True)
        now = time.monotonic()
        self._next = now + max(EVERY_S, (now - began) / SHARE)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Snapshots go when the block ends well: the finished scores are there then. After a stop the last one says how far it came."""
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
    """(rows,) the newest scores by words, which tell a slow scorer where to begin; None if there are none."""
    found = [one for one in list_score_sets(workspace, dataset.id) if one.scorer == QUICK and one.finished and one.rows == dataset.rows]
    return found[-1].scores() if found else None
