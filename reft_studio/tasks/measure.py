"""The job that times a few steps of a run before it is started."""

from __future__ import annotations

from typing import Any

from reft_studio.jobs.job import JobContext


def measure(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Time some steps of a run on its real model; leaves no run. params: spec (RunSpec)."""
    from reft_studio.models.memory import MemoryWork
    from reft_studio.models.session import Session
    from reft_studio.training.probe import STEPS, probe
    from reft_studio.training.spec import RunSpec

    spec = RunSpec.checked(**params["spec"])
    context.stage("load the model", 1, 2)
    work = MemoryWork.training(spec.optim, spec.lora, alignment=spec.harmful is not None)
    session = Session.open(spec.model, max_length=spec.optim.max_length, template=spec.template, loading=spec.loading, work=work)
    context.stage(f"time {STEPS} steps", 2, 2)
    return probe(context.workspace, spec, session, context)
