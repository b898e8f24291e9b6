"""Scorers prepared on demand: from chosen examples, or words learned from what people decided on a dataset."""

from __future__ import annotations

from dataclasses import dataclass

from reft_studio.errors import SpecError
from reft_studio.jobs.queue import JobQueue
from reft_studio.scoring import SCORERS
from reft_studio.scoring.prepared import Prepared as Prepared
from reft_studio.scoring.prepared import PreparedScorer as PreparedScorer
from reft_studio.scoring.prepared import list_prepared, open_prepared
from reft_studio.scoring.scorer import Scorer as Scorer
from reft_studio.scoring.scorer import ScorerSpec as ScorerSpec
from reft_studio.scoring.tfidf import RECALL
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio.models import Models
from reft_studio.tasks.scorers import taught
from reft_studio.teacher.teacher import open_teacher
from reft_studio.workspace import Workspace

LEAST = 10
"""Rows kept, and rows removed, one at a time, below which a few words more among thousands of texts change nothing."""


@dataclass(frozen=True)
class Learning:
    """The job that was queued, and what it learns from."""

    job: str
    kept: int
    removed: int


@dataclass
class Scorers:
    """The prepared scorers of one workspace and those that ship."""

    workspace: Workspace
    jobs: JobQueue
    log: DecisionLog
    models: Models

    def every(self) -> list[Prepared]:
        """All that can score now: teachers first."""
        return list_prepared(self.workspace)

    def find(self, name: str) -> Prepared:
        """One of them by its id or name. Raises StoreError if there is none."""
        return open_prepared(self.workspace, name)

    def prepare(self, spec: ScorerSpec) -> str:
        """Queue a scorer's preparation; the same twice is one job. Raises MissingModel if the base of its teacher has to be added first."""
        if spec.teacher is not None:
            self.models.require(open_teacher(self.workspace, spec.teacher).model)
        return self.jobs.submit_once("scorer", spec.model_dump(mode="json"), title=f"Prepare {SCORERS.get(spec.scorer).info.title}")

    def may_learn_words(self, dataset_id: str) -> bool:
        """Whether enough rows were kept and removed, in bulk or not: cheap enough for every opening of a page."""
        counts = self.log.counts(dataset_id)
        return min(counts["keep"], counts["remove"]) >= LEAST

    def learn_words(self, dataset_id: str) -> Learning:
        """Queue a word scorer from the rows of a dataset that people kept or removed one at a time.

        Raises SpecError with fewer than LEAST of either. Rows of random draws are left out: what is measured on them must not know them.
        """
        found = [harmful for _, harmful in taught(self.workspace, dataset_id)]
        kept, removed = len(found) - sum(found), sum(found)
        if min(kept, removed) < LEAST:
            raise SpecError(
                f"Words are learned from at least {LEAST} rows that people kept and {LEAST} that they removed, one at a time and not drawn "
                f"at random. There are {kept:,} and {removed:,}. Decide some more first."
            )
        spec = ScorerSpec(scorer="tfidf", labels=(dataset_id,), recall=RECALL)
        job = self.jobs.submit_once("scorer", spec.model_dump(mode="json"), title="Learn words from decisions")
        return Learning(job, kept, removed)
