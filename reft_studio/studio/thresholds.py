"""A line found by a rule, with what it promises of this file: from calibration prompts, or from rows that a person knows to be harmless."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.threshold import Calibration, Choice, choose, withheld
from reft_studio.audit.threshold_rule import ThresholdRule
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.errors import SpecError, StoreError
from reft_studio.scoring.prepared import open_prepared
from reft_studio.scoring.scores import NO_BIN, ScoreSet, open_score_set
from reft_studio.studio.audit import Audit
from reft_studio.studio.measures import by_truth
from reft_studio.workspace import Workspace

REVIEWED, LABELLED = "reviewed", "labelled"
"""Clean rows of the file itself: the random ones that people kept, or those that its labels call harmless."""


@dataclass
class Thresholds:
    """Lines found by a rule. None of this changes anything."""

    audit: Audit

    def by_rule(self, dataset_id: str, key: str, rule: ThresholdRule) -> Choice:
        """The threshold that a rule finds for these scores, with what it promises.

        A promise that rests on a calibration which says nothing of this file is withheld. Raises DataError, with the number needed, if
        there are too few prompts or clean rows, SpecError if there are no clean rows of that name.
        """
        workspace = self.audit.workspace
        dataset, score = open_dataset(workspace, dataset_id), open_score_set(workspace, dataset_id, key)
        clean = clean_rows(self.audit, dataset, score, rule.clean) if rule.rule == "clean" else None
        choice = choose(rule, _calibration(workspace, dataset, score, needed=clean is None), score.bins(), clean=clean)
        against = self.audit.estimates(dataset_id, key).withheld
        return withheld(choice, rule, against.why, against.remedy) if against else choice

    def clean_sources(self, dataset_id: str, key: str) -> list[tuple[str, str]]:
        """What `rule.clean` may be now, with a name: the file's own harmless rows, and other datasets with scores of the same scorer."""
        workspace = self.audit.workspace
        dataset, score = open_dataset(workspace, dataset_id), open_score_set(workspace, dataset_id, key)
        named = [(REVIEWED, "random rows of this file that people kept")]
        if by_truth(dataset, score)[1].any():
            named.append((LABELLED, "rows of this file that are labelled harmless"))
        scored = sorted(path.parent.parent.name for path in workspace.folder("scores").glob(f"*/{key}/scorer.json"))
        return named + [(one, open_dataset(workspace, one).name) for one in scored if one != dataset_id]


def clean_rows(audit: Audit, dataset: Dataset, score: ScoreSet, source: str) -> NDArray[np.int64]:
    """Bins of rows known to be harmless, ascending: of this file, or all of another dataset with scores of the same scorer."""
    if source == REVIEWED:
        return audit.sample(dataset.id).clean()
    if source == LABELLED:
        return np.repeat(np.arange(NO_BIN), by_truth(dataset, score)[1])
    other = open_dataset(audit.workspace, source)
    try:
        bins = open_score_set(audit.workspace, other.id, score.key).bins()
    except StoreError as exc:
        raise SpecError(
            f"'{other.name}' has no scores of this scorer yet. Score it with the same one on the Filter page, then ask again."
        ) from exc
    return np.sort(bins[bins != NO_BIN]).astype(np.int64)


def _calibration(workspace: Workspace, dataset: Dataset, score: ScoreSet, *, needed: bool) -> Calibration:
    try:
        return Calibration.of(open_prepared(workspace, score.teacher), dataset)
    except StoreError:
        if needed:
            raise
        return Calibration(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
