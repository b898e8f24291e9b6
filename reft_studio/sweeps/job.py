"""The job that executes the runs of a sweep, so that it is queued, waits for its device, and resumes after a kill."""

from __future__ import annotations

from typing import Any

from reft_studio.jobs.job import JobContext
from reft_studio.sweeps import record
from reft_studio.sweeps.spec import SweepSpec

KIND = "sweep"


def run_sweep(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Execute the remaining runs. params: recipe, the fields of SweepSpec.

    A failed run is recorded and the others are executed, so the job itself fails only if no run could start.
    """
    from reft_studio.sweeps.run import sweep

    spec = SweepSpec.checked(**params["recipe"])
    lines_of = sweep(context.workspace, spec, context, expect=context.expect)
    return {"sweep": spec.id, "runs": len(lines_of), "done": sum(map(record.done, lines_of)), "failed": sum(map(record.failed, lines_of))}
