"""The job that scores a dataset."""

from __future__ import annotations

from typing import Any

from reft_studio.audit.threshold import prepare
from reft_studio.data.dataset import open_dataset
from reft_studio.jobs.job import JobContext
from reft_studio.scoring import SCORERS
from reft_studio.scoring.prepared import chosen


def score_dataset(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Score a dataset. params: dataset; scorer, a name or the id of a prepared one; teacher, whose refusal feature it is by default."""
    dataset = open_dataset(context.workspace, params["dataset"])
    prepared = chosen(context.workspace, dataset, params.get("scorer"), params.get("teacher"))
    scorer = SCORERS.get(prepared.scorer)()
    scores = scorer.stored(context.workspace, dataset, prepared)
    if scores is None:
        context.stage("score the rows", 1, 1)
        scores = scorer.score(context.workspace, dataset, prepared, context)
    prepare(prepared, dataset)
    return {"dataset": dataset.id, "key": scores.key, "rows": scores.rows, "missing": scores.missing, "info": scores.info}
