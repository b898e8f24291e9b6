"""The job that does the runs of a sweep, so that it has its place in the queue, waits for its device, and goes on after a kill."""

from __future__ import annotations

from typing import Any

from reft_studio.jobs.job import JobContext
from reft_studio.sweeps import record
from reft_studio.sweeps.spec import SweepSpec

KIND = "sweep"


def run_sweep(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Do the runs that are not done yet. params: recipe, the fields of SweepSpec.

    A run that fails is noted and the others are done, so the job itself fails only where no run could begin.
    """
    from reft_studio.sweeps.run import sweep

    spec = SweepSpec.checked(**params["recipe"])
    found = sweep(context.workspace, spec, context, expect=context.expect)
    return {"sweep": spec.id, "runs": len(found), "done": sum(map(record.done, found)), "failed": sum(map(record.failed, found))}
