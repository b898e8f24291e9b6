"""Imports: uploads, what is found on this machine or on the hub, samples and mixtures, and uploads read again with other columns."""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reft_studio import fingerprint
from reft_studio.data.dataset import Dataset, Role, open_dataset
from reft_studio.data.formats.format import DataFile
from reft_studio.data.mixed import whole, write_mixed
from reft_studio.data.origin import hub
from reft_studio.data.origin.examples import EXAMPLES as EXAMPLES
from reft_studio.data.origin.examples import write_example
from reft_studio.data.origin.looking import Looker
from reft_studio.data.origin.sources import DataSource as DataSource
from reft_studio.data.origin.sources import local
from reft_studio.data.reading.readers import ImportReport as ImportReport
from reft_studio.data.reading.readers import Preview as Preview
from reft_studio.data.rows.mapping import Mapping
from reft_studio.data.rows.quarantine import Problem as Problem
from reft_studio.data.rows.truth import label_text
from reft_studio.data.writing.rows import check_ending
from reft_studio.errors import DataError, SpecError
from reft_studio.jobs.queue import JobQueue
from reft_studio.tasks.fetch import params_of as params_of
from reft_studio.workspace import Workspace, new_folder

_LOG = logging.getLogger(__name__)
REMEMBERED = 16
"""Sources looked at lately: a repository is read at the commit that was looked at, even if it moves on in between."""
MAX_TEXT = 1000


@dataclass
class Imports:
    """Bringing rows into one workspace. What reads a file waits or works in a process of its own."""

    workspace: Workspace
    jobs: JobQueue
    looker: Looker = field(default_factory=Looker)
    _seen: OrderedDict[str, DataSource] = field(default_factory=OrderedDict)
    _looked: OrderedDict[Path, DataFile] = field(default_factory=OrderedDict)
    """Uploads looked at lately: their import need not look at them again."""

    def get_ready(self) -> None:
        """Start a process that looks at files if none waits, so that the first look is quick; returns at once."""
        self.looker.warm()

    def close(self) -> None:
        """End the processes that look at files."""
        self.looker.close()

    def look(self, text: str) -> DataSource:
        """What stands at a path of this machine or behind the id of a dataset of the hub.

        Raises DataError or PrerequisiteError, with what to do, if nothing can be read there.
        """
        text = text.strip().strip("'\"")
        if not text:
            raise SpecError("Give the path of a file or folder on this machine, or a dataset of the hub such as org/name.")
        if len(text) > MAX_TEXT or "\0" in text:
            raise SpecError(f"A path of {len(text):,} characters is none. At most {MAX_TEXT} are read.")
        found = self.looker.look(text)
        self._seen[text] = found
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return found

    def preview_file(self, path: Path, mapping: Mapping | None = None) -> Preview:
        """What the app would make of a file, from its first rows. Raises DataError for one that costs more than a look may."""
        found = self.looker.preview(path, mapping)
        self._looked[path] = found.file
        while len(self._looked) > REMEMBERED:
            self._looked.popitem(last=False)
        return found

    def preview(self, text: str, part: str, mapping: Mapping | None = None) -> Preview:
        """What the app would make of a part of a source, from its first rows; of a repository the first file is downloaded."""
        source = self._source(text)
        chosen = source.part(part)
        key = fingerprint.of_value([source.title, source.revision, chosen.name, list(chosen.files)])[:16]
        return self.looker.preview_part(source, chosen, self.workspace.folder("cache", "sources", f"{key}{chosen.ending}"), mapping)

    def bring(self, text: str, part: str, *, name: str | None = None, mapping: Mapping | None = None, role: Role = "user") -> str:
        """Queue the import of a part of a source; returns the job."""
        source = self._source(text)
        params = {"name": name or part, "mapping": mapping.model_dump() if mapping else None, "role": role}
        return self.jobs.submit("fetch", {**params_of(source, part), **params}, title=f"Import {source.title[:80]}")

    def upload(self, path: Path, *, name: str | None = None, mapping: Mapping | None = None, role: Role = "user") -> str:
        """Import an upload; returns the job. The file is held by a second name, or copied, so that a page may forget it."""
        self.workspace.require_writable()
        folder = self.workspace.folder("uploads", uuid.uuid4().hex[:12])
        with new_folder(folder) as building:
            _held_upload(self.workspace, path, building / path.name)
        looked = self._looked.get(path)
        params = {
            "path": str(folder / path.name),
            "looked": looked.facts() if looked else None,
            "name": name or path.name,
            "mapping": mapping.model_dump() if mapping else None,
            "role": role,
            "discard": True,
        }
        return self.jobs.submit("import", params, title=f"Import {path.name}")

    def sample(self, *, task: str = "sentiment", poison_ratio: float = 0.1, rows: int = 1000, seed: int = 0) -> str:
        """Make user data of the lab with a known share of poison; returns the job."""
        params = {"task": task, "poison_ratio": poison_ratio, "rows": rows, "seed": seed}
        return self.jobs.submit("sample", params, title=f"Make a sample: {task}, {poison_ratio:.0%} poison")

    def mix(self, dataset_id: str, harmful_id: str, *, poison_ratio: float, seed: int = 0) -> str:
        """Queue a new dataset: one with harmful rows of another mixed in; returns the job. Raises SpecError for a ratio that cannot be."""
        user, harmful = open_dataset(self.workspace, dataset_id), open_dataset(self.workspace, harmful_id)
        whole(user.rows, poison_ratio)
        params = {"dataset": user.id, "harmful": harmful.id, "poison_ratio": poison_ratio, "seed": seed}
        return self.jobs.submit("mix", params, title=f"Mix {poison_ratio:.0%} of {harmful.name} into {user.name}")

    def check_mixed(self, out: Path) -> None:
        """Raises SpecError if a mixture is not written to files with this ending."""
        check_ending(out, texts=True)

    def write_mixed(self, dataset_id: str, out: Path) -> None:
        """Write a mixture to a file of the user's, with a column `label`."""
        write_mixed(open_dataset(self.workspace, dataset_id), out)

    def first_table(self, text: str) -> tuple[DataSource, str]:
        """A folder of this machine, or a dataset of the hub, looked at in this process, and its first table: train, if there is one."""
        source = hub.look(text) if hub.names_a_dataset(text) else local(text)
        return source, source.parts[0].name

    def original(self, dataset_id: str) -> Path:
        """The upload a dataset was read from, as it was. Raises DataError if there is none."""
        return _original(open_dataset(self.workspace, dataset_id))

    def mapping_of(self, dataset_id: str) -> Mapping | None:
        """The columns and speakers that a person chose for a dataset; None if all was recognised, row by row where rows differ."""
        source = open_dataset(self.workspace, dataset_id).manifest.get("source") or {}
        stored = source.get("mapping") or {}
        if not source.get("chosen", True):
            stored = {"roles": roles} if (roles := stored.get("roles")) else {}
        return Mapping(**stored) if stored else None

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

    def example(self, name: str) -> Path:
        """A small file of one format, to see what an import does."""
        return write_example(name, self.workspace.folder("cache", "examples"))

    def _source(self, text: str) -> DataSource:
        text = text.strip().strip("'\"")
        return self._seen.get(text) or self.look(text)


def mapping_from(columns: Sequence[str], harmful_values: Sequence[str], roles: Sequence[str]) -> dict[str, Any] | None:
    """The fields of a mapping from `part=column`, values that mean harmful, and `speaker=role`; None if nothing is given."""
    pairs = dict(column.partition("=")[::2] for column in columns)
    if "label" in pairs:  # what people call it
        pairs["known_harmful"] = pairs.pop("label")
    labels = {label_text(value): True for value in harmful_values}
    speakers = dict(pair.rpartition("=")[::2] for pair in roles)  # a speaker may have a "=" in its name, a role has none
    return {"columns": pairs, "labels": labels, "roles": speakers} if pairs or labels or speakers else None


def _original(dataset: Dataset) -> Path:
    stored = (dataset.manifest.get("source") or {}).get("stored")
    path = dataset.folder / "original" / str(stored)
    if not stored or not path.is_file():
        raise DataError(f"'{dataset.name}' was not read from a file, so there are no columns to choose.")
    return path


def _held_upload(workspace: Workspace, path: Path, target: Path) -> None:
    """A browser's upload gets a second name at once, however large it is; a file of the user's own is copied, since it may change."""
    if path.resolve().is_relative_to(workspace.folder("uploads").resolve()):
        try:
            os.link(path, target)
            return
        except OSError as exc:
            _LOG.info("the upload is copied: %s", exc)
    shutil.copyfile(path, target)
