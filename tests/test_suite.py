"""How `launch.py test` spreads the tests over processes."""

from __future__ import annotations

import os

import pytest

from tests import suite


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


@pytest.mark.parametrize("arguments", [[], ["tests/data"], ["tests/data", "-k", "quarantine"], ["-x"], ["-q", "--durations=5"]])
def test_folders_are_spread_over_the_cores_file_by_file(cores: None, arguments: list[str]) -> None:
    assert suite.spread(arguments) == ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["tests/test_suite.py"],
        ["tests/test_suite.py::test_one", "-x"],
        ["-n", "3"],
        ["-n0"],
        ["--numprocesses=2"],
        ["--dist=load"],
        ["tests/data", "--pdb"],
        ["-p", "no:xdist"],
    ],
)
def test_a_named_file_and_ones_own_choice_of_processes_are_left_as_they_are(cores: None, arguments: list[str]) -> None:
    assert suite.spread(arguments) == []


def test_one_core_needs_no_second_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert suite.spread([]) == []


def test_more_cores_than_browsers_are_wanted_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert suite.spread([])[:2] == ["-n", str(suite.MOST_WORKERS)]
