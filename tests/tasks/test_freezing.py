"""Freezing is one act: the same trail from page, job and command line, and nothing of it where it fails or is killed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from reft_studio.audit.freeze import AUDIT
from reft_studio.cli import app
from reft_studio.data.dataset import Dataset, Row, list_datasets, open_dataset, write_dataset
from reft_studio.errors import PrerequisiteError, StudioError
from reft_studio.jobs.job import JobCancelled
from reft_studio.progress import Silent
from reft_studio.scoring.scores import write_scores
from reft_studio.studio.studio import Studio
from reft_studio.tasks import export
from reft_studio.workspace import Workspace, sweep
from ui.review import freeze_panel

ROWS, UNSCORED, UNSURE, FLAGGED = 12, 3, 5, (9, 10, 11)
WHY = "not readable"
OUT = ["reft_studio.audit.freeze._write_audit", "reft_studio.data.dataset.write_json", "reft_studio.data.dataset._name"]
"""Where a freeze may end: when its rows are written, before its trail, its manifest, its name."""
STAGES = ["reft_studio.audit.freeze.refusing", *OUT]


class Context(Silent):
    """A job's context, in the same process."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.job_id = workspace, "j"


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Twelve rows: three flagged (one of them kept by a person), one relabelled, one without a score, one marked unsure."""
    studio = Studio(Workspace.open(tmp_path / "workspace"))
    rows: list[Row] = [{"prompt": f"question {at}", "response": f"answer {at}"} for at in range(ROWS)]
    dataset = write_dataset(studio.workspace, rows, name="twelve", role="user")
    scores = np.where(np.isin(np.arange(ROWS), FLAGGED), 0.5, -0.5).astype(np.float32)
    scores[UNSCORED] = np.nan
    write_scores(studio.workspace, dataset, scores, key="k", scorer="s", teacher="lab", threshold=0.0, info={})
    studio.choose(dataset=dataset.id)
    studio.audit.decide(dataset.id, UNSURE, "unsure", "who knows", seen=True)
    studio.audit.decide(dataset.id, 9, "keep", "a quotation", seen=True)
    studio.audit.decide(dataset.id, 10, "remove")
    studio.audit.decide(dataset.id, 0, "relabel", seen=True)
    return studio


def source(studio: Studio) -> str:
    return next(one.id for one in list_datasets(studio.workspace) if one.name == "twelve")


def at_once(studio: Studio, reason: str) -> None:
    freeze_panel.freeze_now(studio, reason, "me")


def as_a_job(studio: Studio, reason: str) -> None:
    job = studio.jobs.get(studio.audit.start_freeze(source(studio), reason, by="me"))
    export.freeze_dataset(Context(studio.workspace), json.loads(json.dumps(job.params)))


def on_the_command_line(studio: Studio, reason: str) -> None:
    place = ["--workspace", str(studio.workspace.root)]
    answer = CliRunner().invoke(app.app, ["freeze", source(studio), "--leave-out", reason, *place])
    if answer.exception is not None:
        raise answer.exception


WAYS: list[Callable[[Studio, str], None]] = [at_once, as_a_job, on_the_command_line]


def frozen_by(studio: Studio) -> Dataset:
    (made,) = (one for one in list_datasets(studio.workspace) if one.name != "twelve")
    return made


def state(studio: Studio) -> dict[str, Any]:
    """All that a freeze might leave: datasets, decisions, records, the dataset in use."""
    return {
        "datasets": sorted(path.name for path in studio.workspace.folder("datasets").iterdir()),
        "log": [entry.hash for entry in studio.log.entries()],
        "heads": studio.audit.verify(),
        "in use": Studio(studio.workspace).settings.get("dataset"),
    }


def test_page_job_and_command_line_leave_the_same_data_and_the_same_trail(studio: Studio, tmp_path: Path) -> None:
    found = []
    for way in WAYS:
        copy = tmp_path / way.__name__
        shutil.copytree(studio.workspace.root, copy)
        other = Studio(Workspace.open(copy))
        way(other, WHY)
        made = frozen_by(other)
        assert other.settings.get("dataset") == made.id, "it is the one in use"
        manifest = {key: value for key, value in made.manifest.items() if key != "created"}
        found.append((made.id, manifest, (made.folder / AUDIT).read_bytes(), state(other)["log"]))
    assert found[0] == found[1] == found[2]
    assert found[0][3] == state(studio)["log"], "freezing decides nothing"


def test_a_freeze_that_is_left_to_a_job_writes_nothing_until_that_runs(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reft_studio.studio.audit.LARGE", ROWS - 1)
    before = state(studio)
    assert studio.audit.freeze_or_queue(source(studio), WHY, by="me") is None
    assert state(studio) == before
    job = studio.audit.newest_job(source(studio))
    assert job is not None and job.kind == "freeze"
    export.freeze_dataset(Context(studio.workspace), job.params)
    assert frozen_by(studio).rows == ROWS - 4 and state(studio)["log"] == before["log"]


@pytest.mark.parametrize("way", WAYS)
def test_rows_left_out_are_neither_removed_nor_decided_by_anybody(studio: Studio, way: Callable[[Studio, str], None]) -> None:
    with pytest.raises(StudioError, match="2 rows are undecided"):
        way(studio, "  ")
    way(studio, f" {WHY} ")
    made = frozen_by(studio)
    policy, *notes = [json.loads(line) for line in (made.folder / AUDIT).read_text("utf-8").splitlines()]
    outcomes = {note["row_id"]: note["outcome"] for note in notes}
    assert outcomes == {0: "keep", UNSCORED: "left_out", UNSURE: "left_out", 9: "keep", 10: "remove", 11: "remove"}
    told = policy["policy"]
    assert (told["left_out_reason"], told["undecided"], told["removed"], told["removed_by_human"]) == (WHY, 2, 2, 1)
    assert made.manifest["lineage"].items() >= told.items()
    assert studio.log.counts(source(studio)) == {"keep": 1, "remove": 1, "relabel": 1, "unsure": 1}


def test_the_removal_list_tells_left_out_from_removed_and_unseen_from_read(studio: Studio, tmp_path: Path) -> None:
    at_once(studio, WHY)
    studio.audit.export(frozen_by(studio).id, tmp_path / "out.jsonl")
    lines = {one["row_id"]: one for one in map(json.loads, (tmp_path / "out.removed.jsonl").read_text("utf-8").splitlines())}
    told = {row: (one["outcome"], one["reason"], one.get("seen"), one.get("left_out_because")) for row, one in lines.items()}
    assert told == {
        UNSCORED: ("left_out", "left out, undecided: it has no score and no decision", None, WHY),
        UNSURE: ("left_out", "left out, undecided: marked unsure", True, WHY),
        10: ("remove", "removed by a person, unseen", False, None),
        11: ("remove", "the score is at or above the threshold", None, None),
    }
    assert (lines[UNSURE]["decided_by"], lines[UNSURE]["comment"]) == ("human:me", "who knows")
    table = (tmp_path / "out.removed.csv").read_text("utf-8-sig").splitlines()
    assert table[0].endswith('"seen","left_out_because"') and WHY in table[1]


def test_a_job_freezes_what_was_decided_when_it_was_queued(studio: Studio) -> None:
    job = studio.jobs.get(studio.audit.start_freeze(source(studio), WHY, by="me"))
    studio.audit.decide(source(studio), 9, "remove")
    studio.audit.decide(source(studio), UNSCORED, "keep")
    studio.audit.draw(source(studio), count=2)
    export.freeze_dataset(Context(studio.workspace), job.params)
    made = frozen_by(studio)
    assert 9 in {row["row_id"] for row in made.read(["row_id"])} and made.manifest["lineage"]["undecided"] == 2
    assert studio.audit.verify().ok


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_freeze_that_fails_at_any_stage_leaves_nothing(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, way: Callable[[Studio, str], None], stage: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = state(studio)
    monkeypatch.setattr(stage, full)
    with pytest.raises(StudioError):
        way(studio, WHY)
    assert state(studio) == before


def test_a_freeze_that_cannot_be_put_into_use_leaves_nothing(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise PrerequisiteError("The disk is full.")

    before = state(studio)
    monkeypatch.setattr("reft_studio.tasks.export.settings.set", full)
    with pytest.raises(PrerequisiteError):
        at_once(studio, WHY)
    assert state(studio) == before


def test_a_freeze_that_is_cancelled_leaves_nothing(studio: Studio) -> None:
    class Cancelled(Context):
        def progress(self, done: int, total: int, **metrics: float) -> None:
            raise JobCancelled

    before = state(studio)
    job = studio.jobs.get(studio.audit.start_freeze(source(studio), WHY, by="me"))
    with pytest.raises(JobCancelled):
        export.freeze_dataset(Cancelled(studio.workspace), job.params)
    assert state(studio) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from unittest import mock
from reft_studio.tasks import export as outgoing
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
root, source, stage = sys.argv[1:]
with mock.patch(stage, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)):
    Studio(Workspace.open(Path(root))).audit.freeze(source, "not readable")
"""


@pytest.mark.parametrize("stage", OUT)
def test_a_freeze_that_is_killed_at_any_stage_leaves_nothing(studio: Studio, stage: str) -> None:
    before = state(studio)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(studio.workspace.root), source(studio), stage], check=False, timeout=60, capture_output=True
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert [one.id for one in list_datasets(studio.workspace)] == [source(studio)]
    sweep(studio.workspace.root)
    assert state(studio) == before
    at_once(studio, WHY)
    assert open_dataset(studio.workspace, frozen_by(studio).id).rows == ROWS - 4
