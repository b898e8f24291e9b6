"""What the review amounts to: random draws, what they say, second names, agreement, and the gate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reft_studio.audit.assurance import Standing
from reft_studio.audit.draw import Draw, Region
from reft_studio.audit.estimates import AtLine, Estimates, at_line, estimates, words
from reft_studio.audit.held import KEEP, RELABEL, REMOVE
from reft_studio.audit.opinion import ReviewerAgreement, agreement
from reft_studio.audit.sample import EVERYWHERE, WANTED, Sample
from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.index.rowstore import row_store
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import ScoreSet, flagged, grid, open_score_set
from reft_studio.store import records, settings
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio import project
from reft_studio.studio.draws import Draws
from reft_studio.studio.estimates import evidence
from reft_studio.workspace import Workspace


@dataclass
class Assuring:
    """The part of the audit that says how far one can rely on it."""

    workspace: Workspace
    log: DecisionLog

    def draw(self, dataset_id: str, region: Region = "below", count: int | None = None, *, by: str | None = None) -> Draw:
        """Draw more rows at random on one side of the line, and record them before anybody sees them.

        None: as many as a first claim needs. Raises SpecError if all were drawn.
        """
        return self._sampling(dataset_id).draw(region, count=count, by=self.reviewer(by))

    def drawn(self, dataset_id: str, region: Region = "below") -> NDArray[np.int64]:
        """Drawn rows of this line that nobody read yet, in the order in which they are to be read."""
        return self._sampling(dataset_id).waiting(region)

    def standing(self, dataset_id: str) -> Standing:
        """What can be said about the rows on both sides of the line now. Raises SpecError without scores."""
        return self._sampling(dataset_id).standing()

    def draw_sample(self, dataset_id: str, count: int = WANTED, *, by: str | None = None) -> Draw:
        """Draw more rows at random from the whole file, to be read for an estimate that needs no scorer to be right."""
        return self._sampling(dataset_id).draw_sample(count=count, by=self.reviewer(by))

    def sample(self, dataset_id: str) -> Sample:
        """Rows that were drawn from the whole file, as far as they are read. Raises SpecError without scores."""
        return self._sampling(dataset_id).sample()

    def sample_to_read(self, dataset_id: str) -> NDArray[np.int64]:
        """Rows of that draw that nobody read yet, in the order in which they are to be read."""
        return replace(self._sampling(dataset_id), threshold=EVERYWHERE).waiting("above")

    def estimates(self, dataset_id: str, key: str | None = None) -> Estimates:
        """Which estimates of a file may be shown for these scores (None: those in use), and else why not. Raises SpecError without."""
        return self.estimates_at(dataset_id, key)[0]

    def estimates_at(self, dataset_id: str, key: str | None = None, threshold: float | None = None) -> tuple[Estimates, AtLine]:
        """The same with what it says of a line (None: the one in use)."""
        dataset, score, used = self.audited(dataset_id)
        if key is not None and (score is None or score.key != key):
            score = open_score_set(self.workspace, dataset.id, key)
            used = project.chosen_threshold(self.workspace, score)
        if score is None:
            raise SpecError(f"'{dataset.name}' has no scores, so nothing can be estimated. Score it on the Filter page.")
        known = evidence(self.log, dataset, score, used)
        found, line = estimates(known), used if threshold is None else threshold
        return found, AtLine(None, None) if line is None else at_line(found, known, int(grid(line)))

    def said(self, dataset_id: str) -> list[str]:
        """The same in sentences, for the scores and the line in use."""
        _, _, threshold = self.audited(dataset_id)
        return words(*self.estimates_at(dataset_id), threshold or 0.0)

    def agreement(self, dataset_id: str) -> ReviewerAgreement:
        """How well the reviewers agree on the rows that several of them decided."""
        return agreement(self.log.opinions(dataset_id))

    def approvals(self, dataset_id: str) -> bool:
        """Whether a decision on a flagged row of this dataset counts only once a second person agrees."""
        return needs_second(self.workspace, dataset_id)

    def set_approvals(self, dataset_id: str, on: bool, *, by: str | None = None) -> None:
        """Ask for a second name from now on, or no longer; who did so is recorded."""
        dataset = open_dataset(self.workspace, dataset_id)
        if on != self.approvals(dataset.id):
            records.append(self.workspace, dataset.id, "approvals", self.reviewer(by), lambda _, head: {"on": on, "decisions": head})

    def unapproved(self, dataset_id: str) -> NDArray[np.int64]:
        """Flagged rows with a decision that no second person agrees with yet, ascending; none where no second name is asked for."""
        _, score, threshold = self.audited(dataset_id)
        return unapproved(self.workspace, self.log, dataset_id, score, threshold)

    def audited(self, dataset_id: str) -> tuple[Dataset, ScoreSet | None, float | None]:
        """A dataset with the scores and threshold in use for it."""
        score = project.chosen_scores(self.workspace, dataset_id)
        return open_dataset(self.workspace, dataset_id), score, project.chosen_threshold(self.workspace, score)

    def reviewer(self, name: str | None = None) -> str:
        """The name that stands in the log: the one given, else that of the settings."""
        return f"human:{name or settings.get(self.workspace, 'reviewer', '') or 'me'}"

    def _sampling(self, dataset_id: str) -> Draws:
        dataset, score, threshold = self.audited(dataset_id)
        if score is None or threshold is None:
            raise SpecError(f"'{dataset.name}' has no scores, so there is no line to draw below. Score it on the Filter page.")
        return Draws(self.log, score, threshold)


def needs_second(workspace: Workspace, dataset_id: str) -> bool:
    """Whether a second name is asked for."""
    said = records.of_kind(workspace, dataset_id, "approvals")
    return bool(said and said[-1].content()["on"])


def require_approved(log: DecisionLog, dataset_id: str, score: ScoreSet | None, threshold: float | None) -> None:
    """Raises SpecError while a flagged row is to stay by the word of one person where a second name is asked for."""
    rows = unapproved(log.workspace, log, dataset_id, score, threshold)
    if waiting := int(np.isin(log.decided(dataset_id).code_of(rows), (KEEP, RELABEL)).sum()):
        raise SpecError(
            f"Flagged rows that are to stay by the word of one person: {waiting:,}. Let a second one decide them (Review lists them), or "
            "no longer ask for second names."
        )


def unapproved(
    workspace: Workspace, log: DecisionLog, dataset_id: str, score: ScoreSet | None, threshold: float | None
) -> NDArray[np.int64]:
    """Flagged rows whose decision waits for a second name."""
    if score is None or threshold is None or not needs_second(workspace, dataset_id):
        return np.zeros(0, dtype=np.int64)
    rows = log.decided(dataset_id).rows_with(KEEP, REMOVE, RELABEL)
    values = score.scores()[row_store(open_dataset(workspace, dataset_id)).positions(rows)]
    return np.setdiff1d(rows[flagged(values, threshold)], log.opinions(dataset_id).seconded(), assume_unique=True)
