"""What is queued behind an import, on data so small that the real limit is lowered."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reft_studio.data.dataset import open_dataset
from reft_studio.data.index import search
from reft_studio.jobs.queue import JobQueue
from reft_studio.progress import Silent
from reft_studio.tasks.import_data import import_file
from reft_studio.tasks.index import live, queue_index
from reft_studio.workspace import Workspace

LINES = "".join(f'{{"prompt": "how to bake {number}", "completion": "so"}}\n' for number in range(30))


@dataclass
class Context(Silent):
    workspace: Workspace
    job_id: str = "import-1"
    warnings: list[str] = field(default_factory=list)


def test_an_import_of_many_rows_queues_its_index_and_the_search_then_uses_it(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "WORTH_ROWS", 30)
    (tmp_path / "rows.jsonl").write_text(LINES)
    made = import_file(Context(workspace), {"path": str(tmp_path / "rows.jsonl")})
    dataset, queue = open_dataset(workspace, made["dataset_id"]), JobQueue(workspace)
    assert search.search(dataset, "bake").source == "scan"
    (job,) = [view for view in queue.list() if view.kind == "index"]
    assert live(workspace, "index", dataset.id) and queue_index(workspace, dataset) is None
    assert queue.wait(job.id, timeout_s=60).state == "done"
    found = search.search(dataset, "bake")
    assert (found.source, len(found.positions), found.exact) == ("index", 30, True)
    assert queue_index(workspace, dataset) is None


def test_few_rows_are_not_worth_an_index(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(LINES)
    import_file(Context(workspace), {"path": str(tmp_path / "rows.jsonl")})
    assert [view.kind for view in JobQueue(workspace).list() if view.kind == "index"] == []
