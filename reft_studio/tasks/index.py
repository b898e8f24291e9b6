"""Background jobs that make a dataset faster to work with, and the jobs queued when an import ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.index import search
from reft_studio.data.index.facets import facet, facet_names
from reft_studio.errors import StoreError, StudioError
from reft_studio.jobs.job import LIVE, JobCancelled, JobContext
from reft_studio.jobs.queue import JobQueue

if TYPE_CHECKING:
    from reft_studio.workspace import Workspace

AT_ONCE_ROWS = 1_000_000
"""Rows scored by the text scorer during the import, in about 10 s; larger datasets get a job of their own."""


def index(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Build the facets and the search index of a dataset. params: dataset."""
    dataset = open_dataset(context.workspace, params["dataset"])
    context.stage("sort the rows by what they are", 1, 2)
    names = facet_names(dataset)
    for done, name in enumerate(names):
        context.progress(done, len(names))
        facet(dataset, name)  # kept beside the rows, so that the first page that asks need not wait
    context.stage("read the words", 2, 2)
    search.build(dataset, context)
    return {"dataset": dataset.id, "rows": dataset.rows}


def prepare(context: JobContext, dataset: Dataset) -> None:
    """Queue the background jobs of a new dataset. If that fails, the dataset remains, with a warning."""
    try:
        if dataset.rows >= search.WORTH_ROWS:
            queue_index(context.workspace, dataset)
    except StudioError as exc:
        context.warn(f"The search index could not be queued: {exc} Searches read the rows until it is made.")
    try:
        queue_inspection(context.workspace, dataset)
    except StudioError as exc:
        context.warn(f"The inspection could not be queued: {exc} It can be asked for on the Data page.")
    first_scores(context, dataset)


def first_scores(context: JobContext, dataset: Dataset) -> None:
    """Score new user data with the text scorer, so that it can be reviewed at once; nothing if no such scorer is ready.

    Lab data is left to the lab's teacher. Very large data is scored by a job of its own. Failures do not affect the dataset.
    """
    from reft_studio.scoring import SCORERS
    from reft_studio.scoring.partial import QUICK
    from reft_studio.scoring.prepared import open_prepared

    if dataset.role != "user" or dataset.manifest.get("made_by") == "lab":
        return
    try:
        prepared = open_prepared(context.workspace, QUICK)
    except StoreError:
        return  # none ships here, and nobody has prepared one
    try:
        if dataset.rows > AT_ONCE_ROWS:
            JobQueue(context.workspace).submit("score", {"dataset": dataset.id, "scorer": QUICK}, title=f"Score {dataset.name} by words")
            return
        context.stage("score by words", 2, 2)
        SCORERS.get(QUICK)().score(context.workspace, dataset, prepared, context)
    except StudioError as exc:
        context.warn(f"There is no first score by words: {exc} The data can be scored on the Filter page.")
    except JobCancelled:
        context.warn("The first score by words was stopped. The data is imported, and can be scored on the Filter page.")


def queue_index(workspace: Workspace, dataset: Dataset) -> str | None:
    """Queue the search index of a dataset; None if it has one, or one is being built."""
    if search.indexed(dataset) or live(workspace, "index", dataset.id):
        return None
    return JobQueue(workspace).submit("index", {"dataset": dataset.id}, title=f"Index {dataset.name} for search")


def queue_inspection(workspace: Workspace, dataset: Dataset, *, teacher: str | None = None) -> str | None:
    """Queue the inspection of a dataset; None if one is queued or running. `teacher` determines the tokenizer."""
    if live(workspace, "inspect", dataset.id):
        return None
    return JobQueue(workspace).submit("inspect", {"dataset": dataset.id, "teacher": teacher}, title=f"Inspect {dataset.name}")


def live(workspace: Workspace, kind: str, dataset_id: str) -> bool:
    """Whether a job of this kind on this dataset is running or queued."""
    records = JobQueue(workspace).list(0)
    return any(job.kind == kind and job.state in LIVE and job.params.get("dataset") == dataset_id for job in records)
