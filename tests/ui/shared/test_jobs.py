"""Which jobs a panel shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reft_studio.data.dataset import write_dataset
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from ui.shared.jobs import listing

KINDS = ("score", "run", "teacher", "mix")


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(Workspace.open(tmp_path / "workspace"))


def written(studio: Studio, name: str) -> str:
    return write_dataset(studio.workspace, [{"prompt": name, "response": "b"}], name=name, role="user").id


def queued(studio: Studio, kind: str, title: str, **params: Any) -> None:
    studio.jobs.submit(kind, params, title=title)


def shown(studio: Studio, **how: bool) -> list[str]:
    return [job["title"] for job in listing(studio, KINDS, **how) if job["shown"]]


def test_a_panel_of_the_dataset_in_work_shows_its_jobs_and_those_of_none_in_particular(studio: Studio) -> None:
    mine, other = written(studio, "mine"), written(studio, "other")
    studio.choose(dataset=mine)
    queued(studio, "score", "score mine", dataset=mine)
    queued(studio, "score", "score other", dataset=other)
    queued(studio, "run", "run mine", spec={"dataset": mine})
    queued(studio, "run", "run other", spec={"dataset": other})
    queued(studio, "teacher", "teacher of a model", model="lab")
    queued(studio, "mix", "new data out of other", dataset=other)

    assert shown(studio, of_chosen=True) == ["score mine", "run mine", "teacher of a model", "new data out of other"]
    studio.choose(dataset=other)
    assert shown(studio, of_chosen=True) == ["score other", "run other", "teacher of a model", "new data out of other"]
    assert len(shown(studio)) == 6


def test_a_job_of_another_dataset_is_followed_to_its_end_without_being_shown(studio: Studio) -> None:
    mine, other = written(studio, "mine"), written(studio, "other")
    queued(studio, "score", "score other", dataset=other)
    studio.choose(dataset=mine)
    assert [(job["title"], job["shown"]) for job in listing(studio, KINDS, of_chosen=True)] == [("score other", False)]
