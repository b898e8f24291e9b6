"""Decides which jobs wait for a device and which never do."""

from __future__ import annotations

from typing import Any

from reft_studio.data.dataset import open_dataset
from reft_studio.errors import StudioError
from reft_studio.evaluation.judges import needs_model
from reft_studio.jobs.kinds import BACKGROUND, LIGHT
from reft_studio.scoring import SCORERS
from reft_studio.scoring.prepared import chosen, open_prepared
from reft_studio.store.jobs import Lane
from reft_studio.workspace import Workspace

SOMETIMES = ("score", "scorer", "regrade")
"""Kinds that load a model or not, depending on their parameters."""
LIGHT_JOBS = 2
"""Light jobs that run at the same time, besides model jobs."""


def lane_of(workspace: Workspace, kind: str, params: dict[str, Any]) -> Lane:
    """The lane of a job: scoring, preparing a scorer and regrading are light if they load no model."""
    if kind in BACKGROUND:
        return "background"
    if kind in LIGHT or (kind in SOMETIMES and not _loads_a_model(workspace, kind, params)):
        return "light"
    return "model"


def wanted_device(params: dict[str, Any]) -> str | None:
    """The device in a job's parameters; None for any."""
    spec = params.get("spec")
    loading = (spec if isinstance(spec, dict) else params).get("loading")
    device = loading.get("device") if isinstance(loading, dict) else None
    return device if isinstance(device, str) and (device == "cpu" or ":" in device) else None


def _loads_a_model(workspace: Workspace, kind: str, params: dict[str, Any]) -> bool:
    """Whether a judge, a scorer, or a member of an ensemble is a model; True if that is not known yet."""
    try:
        if kind == "regrade":
            return needs_model(str(params["judge"]["name"]))
        if kind == "scorer":
            return _through_a_model(workspace, str(params["scorer"]), params.get("members") or ())
        prepared = chosen(workspace, open_dataset(workspace, params["dataset"]), params.get("scorer"), params.get("teacher"))
        return _through_a_model(workspace, prepared.scorer, prepared.spec.get("members") or ())
    except (StudioError, KeyError, TypeError):
        return True  # what it needs is still to be made; the job itself says so if it never is


def _through_a_model(workspace: Workspace, scorer: str, members: Any) -> bool:
    if SCORERS.get(scorer).info.needs == "model":
        return True
    prepared = [open_prepared(workspace, str(name)) for name in members]
    return any(_through_a_model(workspace, member.scorer, member.spec.get("members") or ()) for member in prepared)
