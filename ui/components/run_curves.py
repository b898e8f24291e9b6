"""Where training curves come from: the metrics of a job, or the log of a finished run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ui.text import show
from ui.widgets.live_curves import LIVE, NOTHING, CurvePage

if TYPE_CHECKING:
    from reft_studio.jobs.view import JobView
    from reft_studio.studio import Studio

TRAINING = ("run", "demo", "teacher")
"""Job kinds that train."""


def curve_page(studio: Studio, run: str, subject: str, offset: int) -> CurvePage:
    """New log lines of a run id, a job id, or (`LIVE`) of what trains now, else of the newest run."""
    if run == LIVE:
        job = next((job for job in studio.jobs.list(20) if job.kind in TRAINING and job.state == "running"), None)
        if job is not None:
            return _job_page(studio, job, offset if subject == job.id else 0)
        runs = studio.runs()
        if not runs:
            return NOTHING
        run = runs[0].run_id
    return _run_page(studio, run, done=subject == run and offset > 0)


def _job_page(studio: Studio, job: JobView, offset: int) -> CurvePage:
    rows, offset = studio.jobs.metrics(job.id, offset)
    return CurvePage(job.id, show(job.title, 120), show(job.stage, 80) or "Starting", rows, offset, live=True)


def _run_page(studio: Studio, run_id: str, *, done: bool) -> CurvePage:
    run = next((run for run in studio.runs() if run.run_id == run_id), None)
    if run is None:
        return NOTHING
    rows = [] if done else studio.run_log(run_id)
    return CurvePage(run_id, show(f"{run.title}, {run.dataset_name}", 160), "Finished", rows, 1, live=False)
