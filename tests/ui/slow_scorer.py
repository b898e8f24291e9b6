"""The kind `score` for browser tests: as many rows as a file of the workspace allows, in the order of the scores by words."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from reft_studio.data.dataset import open_dataset
from reft_studio.jobs.job import JobContext
from reft_studio.scoring.partial import PartialScores, quick_scores
from reft_studio.scoring.prepared import open_prepared
from reft_studio.scoring.scores import score_key, write_scores
from reft_studio.scoring.work import Scored
from reft_studio.workspace import Workspace

KIND = "score=tests.ui.slow_scorer:score"
POLL_S = 0.05


def allow(workspace: Workspace, rows: int) -> None:
    """How many rows may be scored from now on."""
    (workspace.root / "allowed-rows").write_text(str(rows), "utf-8")


def value(position: int) -> float:
    """The score of a row: every tenth is at 0.9, the others lie below 0."""
    return 0.9 if position % 10 == 0 else -position / 1000


def score(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Goes on from the first row each time: it is quick."""
    dataset, prepared = open_dataset(context.workspace, params["dataset"]), open_prepared(context.workspace, params["teacher"])
    first = quick_scores(context.workspace, dataset)
    order = range(dataset.rows) if first is None else np.argsort(-first, kind="stable").tolist()
    made: Any = {
        "key": score_key(prepared.scorer, prepared.id, prepared.created),
        "scorer": prepared.scorer,
        "teacher": prepared.id,
        "threshold": prepared.threshold,
    }
    result, done = Scored.empty(dataset.rows), 0
    partial = PartialScores(context.workspace, dataset, result, **made)
    context.stage("score the rows", 1, 1)
    with partial.shown():
        while done < dataset.rows:
            allowed = int((context.workspace.root / "allowed-rows").read_text("utf-8") or done)
            for position in order[done:allowed]:
                result.put(position, np.array([value(position)], dtype=np.float32), np.zeros(1, dtype=np.uint8))
            if allowed > done:
                done = min(allowed, dataset.rows)
                partial.write()
            context.progress(done, dataset.rows)
            time.sleep(POLL_S)
        write_scores(context.workspace, dataset, result.scores, **made, info={})
    return {"dataset": dataset.id}
