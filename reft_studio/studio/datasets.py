"""Sources: rows that are not uploaded but found, on this machine or on the hub, and uploads that are read again with other columns."""

from __future__ import annotations

import logging
import os
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reft_studio import fingerprint
from reft_studio.audit.policy import flagged as is_flagged
from reft_studio.data.dataset import Dataset, Role, open_dataset
from reft_studio.data.index.inspect import Inspection, inspection, keep_profile, kept_profile, repeats_of
from reft_studio.data.index.query import Profile, RowPage
from reft_studio.data.index.rowstore import COLUMNS, row_store
from reft_studio.data.origin.examples import write_example
from reft_studio.data.origin.looking import Looker
from reft_studio.data.origin.sources import DataSource
from reft_studio.data.reading.mapping import Mapping
from reft_studio.data.reading.quarantine import read_quarantine, write_quarantine
from reft_studio.data.reading.readers import Preview
from reft_studio.errors import DataError, SpecError, StudioError
from reft_studio.jobs.queue import JobQueue
from reft_studio.studio import project
from reft_studio.studio.row_query import RowFilter
from reft_studio.studio.rows import Table
from reft_studio.tasks.fetch import origin_of, params_of
from reft_studio.tasks.index import live, queue_inspection
from reft_studio.teacher.teacher import open_teacher
from reft_studio.workspace import Workspace

_LOG = logging.getLogger(__name__)
REMEMBERED = 16
"""Sources looked at lately: a repository is read at the commit that was looked at, even if it moves on in between."""
MAX_TEXT = 1000
MOST_REPEATS = 1000
AT_ONCE = 500_000
"""Rows that are counted while a page waits, in about half a second."""


@dataclass
class DatasetSources:
    """Bringing rows in without uploading them."""

    workspace: Workspace
    jobs: JobQueue
    looker: Looker = field(default_factory=Looker)
    _seen: OrderedDict[str, DataSource] = field(default_factory=OrderedDict)

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

    def _source(self, text: str) -> DataSource:
        text = text.strip().strip("'\"")
        return self._seen.get(text) or self.look(text)

    def original(self, dataset_id: str) -> Path:
        """The upload a dataset was read from, as it was. Raises DataError if there is none."""
        return _original(open_dataset(self.workspace, dataset_id))

    def manifest(self, dataset_id: str) -> dict[str, Any]:
        """What was written down when a dataset was made: source, import report, lineage."""
        return open_dataset(self.workspace, dataset_id).manifest

    def name_of(self, dataset_id: str) -> str:
        """What a dataset is called."""
        return open_dataset(self.workspace, dataset_id).name

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

    def profile(self, dataset_id: str) -> Profile | None:
        """A dataset in numbers, counted once; None while that would take a page too long: an inspection does it in the background."""
        dataset = open_dataset(self.workspace, dataset_id)
        found = kept_profile(dataset)
        return found if found is not None or dataset.rows > AT_ONCE else keep_profile(dataset)

    def rows(self, dataset_id: str, row_filter: RowFilter, *, offset: int, limit: int) -> RowPage:
        """A page of rows in the order of the file, each with its whole chat, score, decision and whether it is flagged."""
        dataset = open_dataset(self.workspace, dataset_id)
        score = project.chosen_scores(self.workspace, dataset_id)
        threshold = project.chosen_threshold(self.workspace, score)
        page = Table(self.workspace).rows(dataset_id, score.key if score else None, threshold, row_filter, offset=offset, limit=limit)
        chats = row_store(dataset).take([row["position"] for row in page.rows], columns=("messages",))
        for row, chat in zip(page.rows, chats, strict=True):
            row["messages"] = chat["messages"]
        return page

    def group(self, dataset_id: str, position: int, *, offset: int, limit: int) -> RowPage:
        """A page of the rows that repeat or nearly repeat each other, the one at `position` among them, as `rows` gives them."""
        dataset = open_dataset(self.workspace, dataset_id)
        others = repeats_of(dataset, position, limit=MOST_REPEATS)
        places = np.sort(np.append(others if others is not None else np.zeros(0, np.int64), position))
        score = project.chosen_scores(self.workspace, dataset_id)
        threshold = project.chosen_threshold(self.workspace, score)
        page = places[offset : offset + limit]
        rows = row_store(dataset).take(page, columns=(*COLUMNS, "messages"))
        values = score.scores()[page] if score else np.full(len(page), np.nan)
        for row, value in zip(rows, values.tolist(), strict=True):
            row["score"] = None if np.isnan(value) else value
            row["flagged"] = threshold is not None and is_flagged(row["score"], threshold)
        return RowPage(len(places), offset, rows)

    def row_ids(self, dataset_id: str, positions: Sequence[int]) -> list[int]:
        """Ids of the rows at these positions."""
        return [int(row_id) for row_id in row_store(open_dataset(self.workspace, dataset_id)).row_ids[np.asarray(positions, np.int64)]]

    def set_aside(self, dataset_id: str, *, limit: int = 200) -> list[dict[str, Any]]:
        """The first rows that were set aside at import: line, reason, hint, and the beginning of the raw line."""
        return read_quarantine(open_dataset(self.workspace, dataset_id).folder, limit=limit)

    def set_aside_file(self, dataset_id: str) -> Path:
        """All rows that were set aside, as JSON Lines with line, reason, hint and the beginning of the original."""
        dataset = open_dataset(self.workspace, dataset_id)
        folder = self.workspace.folder("exports")
        folder.mkdir(parents=True, exist_ok=True)
        return write_quarantine(dataset.folder, folder / f"set-aside-{dataset.id}.jsonl")

    def origin(self, dataset_id: str) -> dict[str, Any] | None:
        """Where a dataset was fetched from; None for an upload."""
        return origin_of(open_dataset(self.workspace, dataset_id).folder)

    def inspection(self, dataset_id: str) -> Inspection | None:
        """Repeats, languages and token lengths of a dataset, once they were looked for."""
        return inspection(open_dataset(self.workspace, dataset_id))

    def inspect(self, dataset_id: str, teacher: str | None = None) -> str | None:
        """Queue an inspection; `teacher` names whose tokenizer counts. Returns the job, None if one is on its way."""
        return queue_inspection(self.workspace, open_dataset(self.workspace, dataset_id), teacher=teacher)

    def uncounted(self, dataset_id: str) -> str | None:
        """The teacher of the scores in use, if its tokens have not been counted yet: another model cuts the same texts elsewhere."""
        score = project.chosen_scores(self.workspace, dataset_id)
        found = self.inspection(dataset_id)
        if score is None or found is None:
            return None
        try:
            model = open_teacher(self.workspace, score.teacher).model
        except StudioError:
            return None  # a teacher that is gone counts nothing
        return None if found.tokens is not None and found.tokens.tokenizer == model else score.teacher

    def being_inspected(self, dataset_id: str) -> bool:
        """Whether an inspection of this dataset runs or waits."""
        return live(self.workspace, "inspect", dataset_id)


def _original(dataset: Dataset) -> Path:
    stored = (dataset.manifest.get("source") or {}).get("stored")
    path = dataset.folder / "original" / str(stored)
    if not stored or not path.is_file():
        raise DataError(f"'{dataset.name}' was not read from a file, so there are no columns to choose.")
    return path


def held_upload(workspace: Workspace, path: Path, target: Path) -> None:
    """A browser's upload gets a second name at once, however large it is; a file of the user's own is copied, since it may change."""
    if path.resolve().is_relative_to(workspace.folder("uploads").resolve()):
        try:
            os.link(path, target)
            return
        except OSError as exc:
            _LOG.info("the upload is copied: %s", exc)
    shutil.copyfile(path, target)
