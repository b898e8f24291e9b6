"""Two control scorers: random scores, and the labels of the file. Neither reads any text."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reft_studio import seeding
from reft_studio.data.dataset import Dataset
from reft_studio.errors import DataError
from reft_studio.progress import Progress
from reft_studio.scoring.prepared import SHIPPED, Prepared, PreparedScorer
from reft_studio.scoring.scorer import Scorer, ScorerInfo
from reft_studio.scoring.scores import ScoreSet
from reft_studio.scoring.shards import NO_LABEL
from reft_studio.scoring.work import Scored
from reft_studio.workspace import Workspace

RANDOM_SHARE = 0.1
"""Share of the rows that the random control flags at its default threshold."""


class Random(Scorer):
    """Random scores."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="random",
        title="Random (control)",
        reads="nothing",
        misses="Everything: its scores are drawn. A filter that does no better than this one knows nothing.",
        needs="nothing",
        cost="at once",
        measure="random number",
    )

    @classmethod
    def built_in(cls) -> PreparedScorer:
        return _built_in(cls.info, threshold=1 - 2 * RANDOM_SHARE)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return {"version": 1}

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """Uniform in -1..1, the same for a dataset every time."""
        rng = np.random.default_rng(seeding.derive(0, "random scorer", dataset.fingerprint))
        values = rng.uniform(-1, 1, dataset.rows).astype(np.float32)
        progress.progress(dataset.rows, dataset.rows)
        return self.store(workspace, dataset, prepared, Scored(values, np.zeros(dataset.rows, dtype=np.uint8), dataset.rows), {})


class Oracle(Scorer):
    """The labels of the file as scores."""

    info: ClassVar[ScorerInfo] = ScorerInfo(
        name="oracle",
        title="Oracle (control)",
        reads="label",
        misses="Rows without a label, and what the labels get wrong. It shows the best that any filter could do, not what one can.",
        needs="labels",
        cost="at once",
        measure="label, as 1 or -1",
    )

    @classmethod
    def built_in(cls) -> PreparedScorer:
        return _built_in(cls.info, threshold=0.0)

    def content(self, prepared: Prepared) -> dict[str, Any]:
        return {"version": 1}

    def score(self, workspace: Workspace, dataset: Dataset, prepared: Prepared, progress: Progress) -> ScoreSet:
        """1 for rows known to be harmful, -1 for harmless ones. Raises DataError if no row has a label."""
        column = dataset.table(["known_harmful"]).column(0)
        known = np.asarray(pc.fill_null(pc.cast(column, pa.int8()), -1).to_numpy())
        if not (known >= 0).any():
            raise DataError(f"'{dataset.name}' has no labels, and the oracle reads nothing else. Import a file with a label column.")
        values = np.where(known < 0, np.nan, 2.0 * known - 1).astype(np.float32)
        reasons = np.where(known < 0, NO_LABEL, 0).astype(np.uint8)
        progress.progress(dataset.rows, dataset.rows)
        return self.store(workspace, dataset, prepared, Scored(values, reasons, dataset.rows), {})


def _built_in(info: ScorerInfo, *, threshold: float) -> PreparedScorer:
    return PreparedScorer(info.name, SHIPPED / info.name, info.name, info.title, threshold, {}, {}, "")
