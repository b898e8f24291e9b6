"""Scoring as it goes on: how far it is, what the scores in use are worth meanwhile, and stop and go on."""

from __future__ import annotations

from dataclasses import dataclass

from reft_studio.data.dataset import open_dataset
from reft_studio.errors import StoreError
from reft_studio.jobs.job import LIVE
from reft_studio.jobs.queue import JobQueue
from reft_studio.jobs.view import JobView
from reft_studio.scoring import OF_TEACHER, SCORERS
from reft_studio.scoring.partial import QUICK
from reft_studio.scoring.prepared import Prepared, list_prepared, open_prepared, usual_scorer
from reft_studio.scoring.scores import ScoreSet, list_score_sets, score_key
from reft_studio.store import settings
from reft_studio.studio import project
from reft_studio.studio.models import Models
from reft_studio.workspace import Workspace


@dataclass(frozen=True)
class LiveScores:
    """Where the scoring of a dataset stands. `score` is what the pages show now; `job` makes scores of this dataset, or waits to.

    `scorer` is the name of what `job` scores with, else of what made `score`. `offer` is the teacher that would read more than words.
    """

    score: ScoreSet | None
    job: JobView | None
    scorer: str
    misses: str
    offer: Prepared | None


@dataclass
class Scoring:
    """The scoring of one workspace's datasets."""

    workspace: Workspace
    jobs: JobQueue
    models: Models

    def now(self, dataset_id: str) -> LiveScores:
        """Where the scoring of this dataset stands."""
        score = project.chosen_scores(self.workspace, dataset_id)
        jobs = [one for one in self.jobs.list(0) if one.kind == "score" and one.state in LIVE and one.params.get("dataset") == dataset_id]
        job = next((one for one in jobs if one.state == "running"), jobs[0] if jobs else None)
        named = (job.params.get("scorer") or job.params.get("teacher")) if job else score.teacher if score else None
        prepared = self._prepared(named)
        offer = self.offer(dataset_id) if score is not None and score.scorer == QUICK and job is None else None
        misses = SCORERS.get(score.scorer).info.misses if score is not None else ""
        return LiveScores(score, job, prepared.title if prepared else str(named or ""), misses, offer)

    def start(self, dataset_id: str, scorer: str | None = None) -> str:
        """Queue the scoring of every row with a teacher, or with another prepared scorer by its id or name; returns the job.

        Without one it is `usual_scorer`. From now on its scores are the ones in use, from the first rows on; a scoring that was stopped
        goes on. Raises MissingModel if the base that it reads through has to be added first.
        """
        opened = open_dataset(self.workspace, dataset_id)
        scorer = scorer or usual_scorer(opened)
        prepared = open_prepared(self.workspace, scorer)
        self.models.require(str(prepared.spec.get("model") or "lab"))
        params = {"dataset": opened.id, **({"teacher": scorer} if prepared.scorer == OF_TEACHER else {"scorer": scorer})}
        job = self.jobs.submit("score", params, title=f"Score {opened.name}")
        key = score_key(prepared.scorer, prepared.id, prepared.created)
        if any(one.key == key for one in list_score_sets(self.workspace, opened.id)):
            settings.set(self.workspace, f"score:{opened.id}", key)
        else:
            settings.remove(self.workspace, f"score:{opened.id}")  # without a choice the newest are in use
        return job

    def offer(self, dataset_id: str) -> Prepared | None:
        """The teacher to score with: the usual one, else the first on a real model; None if there is none."""
        usual = self._prepared(usual_scorer(open_dataset(self.workspace, dataset_id)))
        if usual is not None and usual.scorer == OF_TEACHER:
            return usual
        teachers = [one for one in list_prepared(self.workspace) if one.scorer == OF_TEACHER and not one.is_lab]
        return teachers[0] if teachers else None

    def _prepared(self, name: str | None) -> Prepared | None:
        try:
            return open_prepared(self.workspace, name) if name else None
        except StoreError:
            return None  # it was deleted; its scores are still there
