"""Datasets of a workspace: what they are, their rows page by page, what was counted of them, and deleting one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reft_studio.audit.policy import is_flagged
from reft_studio.data.dataset import Role as Role
from reft_studio.data.dataset import list_datasets, open_dataset
from reft_studio.data.index.inspect import REPEATS as REPEATS
from reft_studio.data.index.inspect import Inspection as Inspection
from reft_studio.data.index.inspect import TokenLengths as TokenLengths
from reft_studio.data.index.inspect import inspection, keep_profile, kept_profile, repeats_of
from reft_studio.data.index.query import Lengths as Lengths
from reft_studio.data.index.query import Profile as Profile
from reft_studio.data.index.query import RowPage as RowPage
from reft_studio.data.index.rowstore import COLUMNS, row_store
from reft_studio.data.rows.quarantine import read_quarantine, write_quarantine
from reft_studio.errors import StoreError, StudioError
from reft_studio.studio import project, run_form
from reft_studio.studio.project import DatasetSummary
from reft_studio.studio.row_query import RowFilter
from reft_studio.studio.rows import Rows
from reft_studio.tasks.fetch import origin_of
from reft_studio.tasks.index import live, queue_inspection
from reft_studio.teacher.teacher import open_teacher
from reft_studio.workspace import Workspace, discard

MOST_REPEATS = 1000
AT_ONCE = 500_000
"""Rows that are counted while a page waits, in about half a second."""


@dataclass
class Datasets:
    """The datasets of one workspace."""

    workspace: Workspace

    def every(self, role: Role | None = "user") -> list[DatasetSummary]:
        """Datasets of one role, or all, newest first."""
        return project.summaries(self.workspace, role)

    def summary(self, dataset_id: str) -> DatasetSummary:
        """One dataset as a list shows it. Raises StoreError if it is gone."""
        return project.summary(self.workspace, open_dataset(self.workspace, dataset_id))

    def has(self, dataset_id: str) -> bool:
        """Whether there is something of this name, damaged or not."""
        return self.workspace.folder("datasets", dataset_id).is_dir()

    def known(self, dataset_id: str) -> str:
        """The id itself. Raises StoreError if there is no such dataset."""
        return open_dataset(self.workspace, dataset_id).id

    def delete(self, dataset_id: str) -> None:
        """Delete a dataset and its scores. Raises StoreError while a run was trained on it, or a frozen dataset came from it."""
        self.workspace.require_writable()
        opened = open_dataset(self.workspace, dataset_id)
        users = [run.run_id for run in run_form.summaries(self.workspace) if run.dataset == opened.id]
        if users:
            raise StoreError(f"'{opened.name}' was used by {len(users)} run(s), so it stays: without it they could not be explained.")
        audits = [one.name for one in list_datasets(self.workspace) if one.manifest.get("lineage", {}).get("source") == opened.id]
        if audits:
            raise StoreError(f"'{opened.name}' was audited: {len(audits)} frozen dataset(s) rest on it. Delete those first.")
        discard(opened.folder)
        unfinished = self.workspace.folder("cache", "scoring").glob(f"{opened.id}-*")
        for folder in (self.workspace.folder("scores", opened.id), *unfinished):
            shutil.rmtree(folder, ignore_errors=True)

    def manifest(self, dataset_id: str) -> dict[str, Any]:
        """What was written down when a dataset was made: source, import report, lineage."""
        return open_dataset(self.workspace, dataset_id).manifest

    def name_of(self, dataset_id: str) -> str:
        """What a dataset is called."""
        return open_dataset(self.workspace, dataset_id).name

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
        page = Rows(self.workspace).page(dataset_id, score.key if score else None, threshold, row_filter, offset=offset, limit=limit)
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
