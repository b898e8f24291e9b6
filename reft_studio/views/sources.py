"""Sources: rows that are not uploaded but found, on this machine or on the hub, and uploads that are read again with other columns."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reft_studio import fingerprint
from reft_studio.data import hub
from reft_studio.data.dataset import Dataset, Role, open_dataset
from reft_studio.data.inspect import Inspection, inspection
from reft_studio.data.mapping import Mapping
from reft_studio.data.readers import Preview, preview
from reft_studio.data.sources import Source, head, local
from reft_studio.errors import DataError, SpecError
from reft_studio.jobs.fetching import origin_of, params_of
from reft_studio.jobs.queue import JobQueue
from reft_studio.workspace import Workspace

REMEMBERED = 16
"""Sources looked at lately: a repository is read at the commit that was looked at, even if it moves on in between."""
MAX_TEXT = 1000


@dataclass
class Sources:
    """Bringing rows in without uploading them."""

    workspace: Workspace
    jobs: JobQueue
    _seen: OrderedDict[str, Source] = field(default_factory=OrderedDict)

    def look(self, text: str) -> Source:
        """What stands at a path of this machine or behind the id of a dataset of the hub.

        Raises DataError or PrerequisiteError, with what to do, if nothing can be read there.
        """
        text = text.strip().strip("'\"")
        if not text:
            raise SpecError("Give the path of a file or folder on this machine, or a dataset of the hub such as org/name.")
        if len(text) > MAX_TEXT or "\0" in text:
            raise SpecError(f"A path of {len(text):,} characters is none. At most {MAX_TEXT} are read.")
        found = hub.look(text) if hub.names_a_dataset(text) else local(text)
        self._seen[text] = found
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return found

    def preview(self, text: str, part: str, mapping: Mapping | None = None) -> Preview:
        """What the app would make of a part of a source, from its first rows; of a repository the first file is downloaded."""
        source = self._source(text)
        chosen = source.part(part)
        files = hub.fetch(source, chosen, first_only=chosen.kind != "file")
        key = fingerprint.of_value([source.title, source.revision, chosen.name, [str(file) for file in files]])[:16]
        target = self.workspace.folder("cache", "sources", f"{key}.parquet")
        return preview(head(files, chosen.kind, target), mapping)

    def bring(self, text: str, part: str, *, name: str | None = None, mapping: Mapping | None = None, role: Role = "user") -> str:
        """Queue the import of a part of a source; returns the job."""
        source = self._source(text)
        params = {"name": name or part, "mapping": mapping.model_dump() if mapping else None, "role": role}
        return self.jobs.submit("fetch", {**params_of(source, part), **params}, title=f"Import {source.title[:80]}")

    def _source(self, text: str) -> Source:
        text = text.strip().strip("'\"")
        return self._seen.get(text) or self.look(text)

    def original(self, dataset_id: str) -> Path:
        """The upload a dataset was read from, as it was. Raises DataError if there is none."""
        return _original(open_dataset(self.workspace, dataset_id))

    def mapping_of(self, dataset_id: str) -> Mapping:
        """The columns a dataset was read with."""
        stored = (open_dataset(self.workspace, dataset_id).manifest.get("source") or {}).get("mapping")
        return Mapping(**stored) if stored else Mapping()

    def read_again(self, dataset_id: str, mapping: Mapping | None, *, name: str | None = None, replace: bool = False) -> str:
        """Queue another import of a dataset's kept upload with other columns; returns the job.

        `replace` is kept in the job's parameters: whoever sees it end well deletes the dataset it replaces.
        """
        dataset = open_dataset(self.workspace, dataset_id)
        params: dict[str, Any] = {
            "path": str(_original(dataset)),
            "name": name or dataset.name,
            "mapping": mapping.model_dump() if mapping else None,
            "role": dataset.role,
            "replaces": dataset.id if replace else None,
        }
        return self.jobs.submit("import", params, title=f"Read {dataset.name} again")

    def origin(self, dataset_id: str) -> dict[str, Any] | None:
        """Where a dataset was fetched from; None for an upload."""
        return origin_of(open_dataset(self.workspace, dataset_id).folder)

    def inspection(self, dataset_id: str) -> Inspection | None:
        """Repeats, languages and token lengths of a dataset, once they were looked for."""
        return inspection(open_dataset(self.workspace, dataset_id))

    def inspect(self, dataset_id: str, teacher: str | None = None) -> str:
        """Queue an inspection; `teacher` names whose tokenizer counts. Returns the job."""
        dataset = open_dataset(self.workspace, dataset_id)
        return self.jobs.submit("inspect", {"dataset": dataset.id, "teacher": teacher}, title=f"Inspect {dataset.name}")


def _original(dataset: Dataset) -> Path:
    stored = (dataset.manifest.get("source") or {}).get("stored")
    path = dataset.folder / "original" / str(stored)
    if not stored or not path.is_file():
        raise DataError(f"'{dataset.name}' was not read from a file, so there are no columns to choose.")
    return path
