"""What Home lists, as the values of widgets."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.studio.models import JOB, fetched
from ui.events import said
from ui.offline import attempts
from ui.shared import dataset_views
from ui.tables import table_value
from ui.text import ago, count, percent, show, size

if TYPE_CHECKING:
    from reft_studio.jobs.view import JobView
    from reft_studio.studio.project import DatasetSummary
    from reft_studio.studio.run_form import RunSummary
    from reft_studio.studio.studio import Studio

RECENT = 6


def home(studio: Studio) -> list[Any]:
    """Values for the datasets, the runs, the machine line, and the row of links that shows once there is something to compare."""
    current, runs = studio.state().dataset, studio.runs.finished()
    return [
        recent_datasets(studio.datasets.every(), current.id if current else None),
        recent_runs(runs),
        machine(studio),
        gr.update(visible=sum(run.hs is not None for run in runs) > 1),
    ]


def outcome(job: JobView) -> dict[str, str]:
    """How the quick start ended, or the fetch of a model; what went wrong stands in the job's own card."""
    if job.state == "done" and job.kind == JOB:
        return said(f"{show((job.result or {}).get('model', 'The model'), 64)} is on this machine. It can be chosen by name.", "done")
    if job.state == "done":
        return said("Done: a plain model and one trained under the safety teacher are ready to compare.", "done")
    return said("", "quiet")


def recent_datasets(datasets: Sequence[DatasetSummary], current: str | None) -> dict[str, Any]:
    """The newest datasets, and the one in work even if it is older; the rest is on the Data page."""
    value = dataset_views.listed(datasets, current)
    shown, older = value["rows"][:RECENT], value["rows"][RECENT:]
    return {**value, "rows": [*shown, *(row for row in older if row["id"] == current)]}


def recent_runs(runs: Sequence[RunSummary]) -> dict[str, Any]:
    """The newest runs with their headline numbers, without intervals: those are on Compare."""
    newest = sorted(runs, key=lambda run: run.created, reverse=True)
    return table_value(
        (
            {
                "id": run.run_id,
                "title": run.title,
                "data": run.dataset_name,
                "hs": percent(run.hs.value) if run.hs else "–",
                "fa": percent(run.fa.value) if run.fa else "–",
                "over": percent(run.over_refusal.value) if run.over_refusal else "–",
                "created": ago(run.created),
            }
            for run in newest[:RECENT]
        ),
        total=len(newest),
    )


def machine(studio: Studio) -> dict[str, Any]:
    """Device, disk and what has tried to leave this machine."""
    disk = shutil.disk_usage(studio.workspace.root)
    tried = len(attempts())
    brought = ", ".join(show(model.name, 64) for model in fetched())
    return {
        "facts": [
            {"label": "Device", "value": show(studio.state().device, 80), "kind": "quiet"},
            {"label": "Disk", "value": f"{size(disk.free)} free", "kind": "quiet" if disk.free > 1e9 else "warn"},
            {
                "label": "Network",
                "value": "offline: this app has contacted no other machine" + (f", but to fetch {brought}" if brought else "")
                if not tried
                else f"{count(tried)} attempts to reach another machine",
                "kind": "keep" if not tried else "warn",
            },
            {"label": "Workspace", "value": show(studio.workspace.root, 120), "kind": "quiet"},
        ]
    }
