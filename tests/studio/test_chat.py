"""What chat does while a job has the device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace


def test_a_job_is_asked_once_to_give_way_where_that_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studio = Studio(Workspace.open(tmp_path))
    gave: list[str] = []
    told: list[Any] = []

    def speak(*, device: str, **_: Any) -> Iterator[dict[str, Any]]:
        told.append(device)
        waiting = {"waiting": "Train", "job": "run-1"}
        yield from (waiting, waiting, {"model": "m", "delta": "Yes"})

    monkeypatch.setattr(studio.host, "request", speak)
    monkeypatch.setattr(studio.jobs, "give_way", gave.append)
    for way in ("beside", "wait", "pause"):
        assert len(list(studio.chat.answer("How?", ["m"], way=way))) == 3
    assert (told, gave) == (["beside", "wait", "wait"], ["run-1"])
