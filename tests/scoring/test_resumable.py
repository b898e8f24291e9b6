"""A kill at any moment costs one batch at most, and the scores are the bits of a run that nobody touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.errors import PrerequisiteError
from reft_studio.fingerprint import of_file
from reft_studio.lab import sets
from reft_studio.models.session import Session
from reft_studio.progress import Silent
from reft_studio.scoring import engine, refusal_similarity
from reft_studio.scoring.refusal_similarity import score
from reft_studio.scoring.scores import ScoreSet, list_score_sets
from reft_studio.scoring.shards import shards
from reft_studio.scoring.work import work_folder
from reft_studio.teacher.teacher import open_teacher
from reft_studio.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
ROWS = 130
KILLS = """
import os, signal, sys
from functools import partial
from pathlib import Path
import torch
torch.set_num_threads(1)
from reft_studio.data.dataset import list_datasets
from reft_studio.fingerprint import of_file
from reft_studio.models.session import Session
from reft_studio.progress import Silent
from reft_studio.scoring import engine, refusal_similarity
from reft_studio.scoring.shards import shards
from reft_studio.teacher.teacher import open_teacher
from reft_studio.workspace import Workspace

refusal_similarity.shards = partial(shards, rows=60)
engine.BUDGET["cpu"] = 200
session = Session.open("lab")
teacher = open_teacher(Workspace.open(Path(sys.argv[2])), "lab")
refusal_similarity.score_prompts(["so that every child finds the adapter loaded"], teacher, session)

def run(root):
    workspace = Workspace.open(Path(root))
    found = refusal_similarity.score(workspace, list_datasets(workspace)[0], teacher, session, Silent())
    return of_file(found.folder / "scores.parquet")

def die_at(step):
    "Die in the middle of write number `step`, or right before a file gets its name."
    left, write, replace = [step], os.write, Path.replace
    def tick(half):
        left[0] -= 1
        if left[0] == 0:
            half()
            os.kill(os.getpid(), signal.SIGKILL)
    def writes(file, data):
        tick(lambda: write(file, data[: len(data) // 2]))
        return write(file, data)
    def replaces(path, target):
        tick(lambda: None)
        return replace(path, target)
    os.write, Path.replace = writes, replaces

killed = 0
for step in (1, 2, 3, 8, 5, 13, 4):
    child = os.fork()
    if child == 0:
        die_at(step)
        run(sys.argv[1])
        os._exit(0)
    killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
print(killed, run(sys.argv[1]), run(sys.argv[2]))
"""


def dataset_in(workspace: Workspace, rows: int = ROWS) -> Dataset:
    return write_dataset(workspace, sets.user_data(rows=rows), name="rows", role="user")


@pytest.fixture(scope="module")
def session() -> Session:
    return Session.open("lab")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 60 rows and batches of 200 tokens, so that there are several of each."""
    monkeypatch.setattr(refusal_similarity, "shards", lambda dataset: shards(dataset, rows=60))
    monkeypatch.setitem(engine.BUDGET, "cpu", 200)


def scored(workspace: Workspace, session: Session, dataset: Dataset, progress: Any = None) -> ScoreSet:
    return score(workspace, dataset, open_teacher(workspace, "lab"), session, progress or Silent())


def test_killed_at_any_write_it_goes_on_to_the_same_file(tmp_path: Path) -> None:
    roots = [tmp_path / "broken", tmp_path / "whole"]
    for root in roots:
        dataset_in(Workspace.open(root))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLS, *map(str, roots)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    killed, broken, whole = done.stdout.split()
    assert int(killed) >= 5
    assert broken == whole
    left = [path.name for path in roots[0].rglob("*") if ".tmp-" in path.name]
    assert left == [] and list((roots[0] / "cache" / "scoring").iterdir()) == []


class Stopping(Silent):
    """Cancels at the given call of progress, and counts calls."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.calls = at, 0

    def progress(self, done: int, total: int, **metrics: float) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise InterruptedError


@pytest.mark.usefixtures("small")
def test_a_cancelled_job_keeps_what_is_done(workspace: Workspace, session: Session, tmp_path: Path) -> None:
    elsewhere = Workspace.open(tmp_path / "other")
    usual = Stopping(0)
    whole = scored(elsewhere, session, dataset_in(elsewhere), usual)
    dataset = dataset_in(workspace)
    with pytest.raises(InterruptedError):
        scored(workspace, session, dataset, Stopping(usual.calls - 3))
    (stopped,) = list_score_sets(workspace, dataset.id)
    assert not stopped.finished and 0 < stopped.reached < ROWS
    rest = Stopping(0)
    found = scored(workspace, session, dataset, rest)
    assert rest.calls < usual.calls / 2
    assert of_file(found.folder / "scores.parquet") == of_file(whole.folder / "scores.parquet")


@pytest.mark.usefixtures("small")
def test_memory_that_runs_out_midway_changes_the_plan_for_good(
    workspace: Workspace, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Halved batches are halved again when the run goes on, so that its scores have the bits of a run that was not cut short."""
    dataset, usual = dataset_in(workspace), engine.Engine.scores

    def scarce(self: engine.Engine, prompts: Any, **how: Any) -> Any:
        if len(prompts) > 4:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return usual(self, prompts, **how)

    monkeypatch.setattr(engine.Engine, "scores", scarce)
    with pytest.raises(InterruptedError):
        scored(workspace, session, dataset, Stopping(9))
    folder = next((workspace.root / "cache" / "scoring").iterdir())
    assert json.loads((folder / "splits.json").read_text("utf-8"))["splits"]
    found = scored(workspace, session, dataset)
    assert found.missing == 0 and found.rows == ROWS
    elsewhere = Workspace.open(tmp_path / "other")
    whole = scored(elsewhere, session, dataset_in(elsewhere))
    assert of_file(found.folder / "scores.parquet") == of_file(whole.folder / "scores.parquet")


def test_the_same_work_is_not_done_twice_at_once(workspace: Workspace) -> None:
    with work_folder(workspace, "one"), pytest.raises(PrerequisiteError, match="being scored"), work_folder(workspace, "one"):
        pytest.fail("two at once")
    assert not workspace.folder("cache", "scoring", "one").exists()


def test_shards_depend_on_the_rows_alone(workspace: Workspace) -> None:
    rows: list[Row] = [{"prompt": f"say {place % 7}", "response": "x"} for place in range(20)]
    dataset = write_dataset(workspace, rows, name="said", role="user")
    found = list(shards(dataset, rows=8))
    assert [(one.index, one.rows, len(one.texts)) for one in found] == [(0, 8, 7), (1, 8, 7), (2, 4, 4)]
    assert [one.rows for one in shards(dataset, characters=10)] == [2] * 10
    turns = [one.texts[turn] for one in found for turn in one.turns]
    assert turns == [row["prompt"] for row in rows] and np.array_equal(found[2].ends, [1, 2, 3, 4])
