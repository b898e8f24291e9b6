"""The job that imports rows from a folder, a file or the hub: the parts are joined into one file, which is read like an upload."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from reft_studio import fingerprint
from reft_studio.data.dataset import open_dataset
from reft_studio.data.origin import hub
from reft_studio.data.origin.sources import DataSource, SourceTable, gather
from reft_studio.data.reading.budget import importing
from reft_studio.integrity import seal
from reft_studio.jobs.job import JobContext
from reft_studio.tasks.import_data import import_file
from reft_studio.workspace import read_json, staging, write_json

ORIGIN = "origin.json"
"""Stored with the rows: where they came from."""


def fetch(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Import a part of a source. params: source (DataSource), part (its name), name, mapping, role."""
    stored = params["source"]
    source = DataSource(**{**stored, "parts": tuple(SourceTable(**{**part, "files": tuple(part["files"])}) for part in stored["parts"])})
    part = source.part(params["part"])
    context.stage("fetch the files", 1, 2)
    with staging(context.workspace.folder("uploads")) as scratch:
        files = hub.fetch(source, part)
        target = scratch / f"{Path(part.name.replace('/', '-')).name}{part.ending}"
        with importing(part.name):
            path = gather(files, part.kind, target, lambda done, total: context.progress(done, total))
        result = import_file(context, {**params, "path": str(path)})
        origin = {
            "place": source.place,
            "title": source.title,
            "text": source.text,
            "revision": source.revision,
            "part": part.name,
            "files": [{"name": file.name, "bytes": file.stat().st_size, "sha256": fingerprint.of_file(file)} for file in files],
        }
    folder = open_dataset(context.workspace, str(result["dataset_id"])).folder
    write_json(folder / ORIGIN, origin)
    seal(folder, [ORIGIN])
    return result


def params_of(source: DataSource, part: str) -> dict[str, Any]:
    """The part of `fetch`'s parameters that identifies the rows."""
    return {"source": {**asdict(source), "parts": [asdict(source.part(part))]}, "part": part}


def origin_of(folder: Path) -> dict[str, Any] | None:
    """Where the dataset in `folder` was fetched from: place, title, revision, part, files; None for an upload."""
    path = folder / ORIGIN
    if not path.is_file():
        return None
    origin = read_json(path)
    return origin if isinstance(origin, dict) else None
