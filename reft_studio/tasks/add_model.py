"""The job that adds a model to the shelf of this machine."""

from __future__ import annotations

from typing import Any

from reft_studio.errors import StudioError
from reft_studio.jobs.job import JobCancelled, JobContext, JobPaused
from reft_studio.models import shelf


def add_model(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Add a model. params: source, name, dtype (auto, bfloat16, float32); `by_itself`: automatic, so a failure is remembered."""
    from reft_studio.models.adding import add, resolve_request

    request = resolve_request(params["source"], params.get("name"))
    try:
        model = add(request, context, kind=params.get("dtype") or "auto")
    except StudioError as exc:
        if params.get("by_itself"):
            shelf.decline(request.name, str(exc))
        raise
    except JobPaused:  # it goes on later
        raise
    except JobCancelled:
        if params.get("by_itself"):
            shelf.decline(request.name, "It was stopped while it was fetched.")
        raise
    return {"model": model.name, "title": model.title, "size": model.size, "speed": dict(model.speed)}
