"""Scorers prepared on demand: from chosen examples, or words learned from what people decided on a dataset."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reft_studio.data.dataset import Dataset, Row, open_dataset, write_dataset
from reft_studio.data.writing.export import export_kept
from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.jobs.queue import JobQueue
from reft_studio.scoring import SCORERS
from reft_studio.scoring.choosing import lowest, planted
from reft_studio.scoring.prepared import FILE, list_prepared, named, open_prepared
from reft_studio.scoring.prepared import Prepared as Prepared
from reft_studio.scoring.prepared import PreparedScorer as PreparedScorer
from reft_studio.scoring.scorer import Scorer as Scorer
from reft_studio.scoring.scorer import ScorerSpec as ScorerSpec
from reft_studio.scoring.scores import open_score_set
from reft_studio.scoring.tfidf import RECALL
from reft_studio.store.decisions import DecisionLog
from reft_studio.studio.models import Models
from reft_studio.tasks.scorers import labelled_by_people
from reft_studio.teacher.teacher import open_teacher
from reft_studio.workspace import Workspace, new_folder

LEAST = 10
"""Rows kept, and rows removed, one at a time, below which a few words more among thousands of texts change nothing."""


@dataclass(frozen=True)
class Learning:
    """The job that was queued, and what it learns from."""

    job: str
    kept: int
    removed: int


@dataclass(frozen=True)
class KeptRows:
    """The rows that were kept as a dataset; `missing` had no score. Shares are of rows labelled harmful, None unless all are labelled."""

    dataset: str
    rows: int
    kept: int
    missing: int
    harmful_before: float | None
    harmful: float | None


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

    def asked_for(self, scorer: str | None, teacher: str | None) -> Prepared | None:
        """What a scorer's name, else a teacher's, means; None if neither was given. Raises StoreError if there is none."""
        name = named(scorer, teacher)
        return None if name is None else self.find(name)

    def prepare(self, spec: ScorerSpec) -> str:
        """Queue a scorer's preparation; the same twice is one job. Raises MissingModel if the base of its teacher has to be added first."""
        if spec.teacher is not None:
            self.models.require(open_teacher(self.workspace, spec.teacher).model)
        return self.jobs.submit_once("scorer", spec.model_dump(mode="json"), title=f"Prepare {SCORERS.get(spec.scorer).info.title}")

    def deliver(self, name: str, out: Path) -> None:
        """Copy a prepared scorer to a folder of the user's, whole or not at all. Raises PrerequisiteError if another thing is there."""
        check_target(out)
        with new_folder(out.absolute()) as building:
            shutil.copytree(self.find(name).folder, building, dirs_exist_ok=True)

    def keep_lowest(self, dataset_id: str, key: str, *, share: float, out: Path | None = None) -> KeptRows:
        """Keep the share of a dataset's rows with the lowest of these scores as a dataset of its own, and as a file if one is named."""
        dataset, scores = open_dataset(self.workspace, dataset_id), open_score_set(self.workspace, dataset_id, key)
        ids = lowest(scores, share=share)
        kept = write_dataset(
            self.workspace,
            _rows(dataset, set(ids.tolist())),
            name=f"{dataset.name}, the {share:.0%} kept by {scores.scorer}",
            role=dataset.role,
            extra={"chosen": {"from": dataset.id, "scorer": scores.teacher, "share": share}},
        )
        if out is not None:
            export_kept(dataset, ids.tolist(), out)
        before, after = (planted(one.table(["known_harmful"]).column(0).to_pylist()) for one in (dataset, kept))
        return KeptRows(kept.id, dataset.rows, kept.rows, scores.missing, before, after)

    def may_learn_words(self, dataset_id: str) -> bool:
        """Whether enough rows were kept and removed, in bulk or not: cheap enough for every opening of a page."""
        counts = self.log.counts(dataset_id)
        return min(counts["keep"], counts["remove"]) >= LEAST

    def learn_words(self, dataset_id: str) -> Learning:
        """Queue a word scorer from the rows of a dataset that people kept or removed one at a time.

        Raises SpecError with fewer than LEAST of either. Rows of random draws are left out: what is measured on them must not know them.
        """
        found = [harmful for _, harmful in labelled_by_people(self.workspace, dataset_id)]
        kept, removed = len(found) - sum(found), sum(found)
        if min(kept, removed) < LEAST:
            raise SpecError(
                f"Words are learned from at least {LEAST} rows that people kept and {LEAST} that they removed, one at a time and not drawn "
                f"at random. There are {kept:,} and {removed:,}. Decide some more first."
            )
        spec = ScorerSpec(scorer="tfidf", labels=(dataset_id,), recall=RECALL)
        job = self.jobs.submit_once("scorer", spec.model_dump(mode="json"), title="Learn words from decisions")
        return Learning(job, kept, removed)


def check_target(out: Path) -> None:
    """Raises PrerequisiteError unless `out` is free, empty, or holds a prepared scorer that may be replaced."""
    if out.exists() and not (out.is_dir() and ((out / FILE).is_file() or not any(out.iterdir()))):
        raise PrerequisiteError(f"{out} is there already and is no prepared scorer. Name a folder that is new or empty.")


def _rows(dataset: Dataset, ids: set[int]) -> Iterator[Row]:
    """The rows with these ids, as they are."""
    for row in dataset.read():
        if row["row_id"] in ids:
            yield {
                "prompt": row["prompt"],
                "response": row["response"],
                "messages": json.loads(row["messages"]),
                "origin": row["origin"],
                "category": row["category"],
                "known_harmful": row["known_harmful"],
            }
