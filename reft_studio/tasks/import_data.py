"""Jobs that make a dataset: from an upload, from the lab, or by mixing harmful rows into one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reft_studio.data.dataset import open_dataset
from reft_studio.data.formats.format import DataFile
from reft_studio.data.mixed import mix_in
from reft_studio.data.reading.budget import importing
from reft_studio.data.reading.readers import import_file as read
from reft_studio.data.rows.mapping import Mapping
from reft_studio.jobs.job import JobContext
from reft_studio.tasks import lab_data
from reft_studio.tasks.index import prepare


def import_file(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Read an upload. params: path, name, mapping, role, and `looked`: what looking at the file found, if that was done."""
    context.stage("read the file", 1, 1)
    mapping = Mapping(**params["mapping"]) if params.get("mapping") else None
    path = Path(params["path"])
    with importing(str(params.get("name") or path.name)):
        report = read(
            context.workspace,
            DataFile.of(path, params["looked"]) if params.get("looked") else path,
            name=params.get("name"),
            mapping=mapping,
            role=params.get("role", "user"),
            progress=lambda done, total: context.progress(done, total or 0),
            check=context.check,
        )
    if params.get("discard"):  # a copy that the page made for us
        path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: not the folder that was made for it
            path.parent.rmdir()
    prepare(context, open_dataset(context.workspace, report.dataset_id))
    return asdict(report)


def lab_sample(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Make user data of the lab. params: task, poison_ratio, rows, seed."""
    context.stage("make the sample", 1, 1)
    dataset = lab_data.sample(context.workspace, **params)
    prepare(context, dataset)
    return {"dataset_id": dataset.id, "rows": dataset.rows, "name": dataset.name}


def mix_datasets(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Mix harmful rows into a dataset. params: dataset, harmful, poison_ratio, and if wanted rows, seed, name."""
    context.stage("mix harmful rows in", 1, 1)
    params = dict(params)
    user, harmful = (open_dataset(context.workspace, params.pop(name)) for name in ("dataset", "harmful"))
    made = mix_in(context.workspace, user, harmful, **params)
    prepare(context, open_dataset(context.workspace, made.dataset_id))
    return vars(made)
