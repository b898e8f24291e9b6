"""Finished runs keep what people say of them, and tell in which settings two differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_studio.errors import SpecError, StoreError
from reft_studio.training.run_names import titles
from reft_studio.views.run_history import RunHistory
from reft_studio.workspace import Workspace
from tests.commands import Command
from tests.ui.finished_runs import write_run


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Workspace, str, str]:
    workspace = Workspace.open(tmp_path / "workspace")
    return workspace, write_run(workspace, "sft", steps=40), write_run(workspace, "sft", steps=80, seed=1)


def test_a_name_tags_and_a_note_are_kept_and_each_can_be_changed_alone(runs: tuple[Workspace, str, str]) -> None:
    workspace, first, second = runs
    history = RunHistory(workspace)
    history.say(first, by="Ana", name=" the  baseline ", tags=["paper", "Paper", "june"], note="Kept for the report.")
    history.say(first, note="")
    kept = next(one for one in history.every() if one.run_id == first)
    assert (kept.title, kept.note.tags, kept.note.note, kept.note.edited_by) == ("the baseline", ("paper", "june"), "", "")
    assert titles(workspace)[first] == "the baseline" and titles(workspace)[second] == "Plain SFT, 80 steps"
    history.say(first, name="")
    assert titles(workspace)[first] == "Plain SFT, 40 steps"


def test_a_name_that_another_run_has_a_long_one_and_a_run_that_is_not_there_are_refused(runs: tuple[Workspace, str, str]) -> None:
    workspace, first, second = runs
    history = RunHistory(workspace)
    history.say(first, name="baseline")
    with pytest.raises(SpecError, match="Another run is called 'baseline'"):
        history.say(second, name="baseline")
    with pytest.raises(SpecError, match="at most 80"):
        history.say(second, name="x" * 81)
    with pytest.raises(StoreError, match="no finished run"):
        history.say("r" + "0" * 12, name="nobody")


def test_two_runs_differ_in_the_settings_that_were_changed_and_in_no_others(runs: tuple[Workspace, str, str]) -> None:
    workspace, first, second = runs
    found = {one.key: (one.first, one.second) for one in RunHistory(workspace).differences(first, second)}
    assert found == {"optim.steps": ("40", "80"), "seed": ("0", "1")}
    assert RunHistory(workspace).differences(first, first) == []


def test_the_verb_lists_names_compares_and_refuses_words_for_two(command: Command, runs: tuple[Workspace, str, str]) -> None:
    workspace, first, second = runs
    place = ("--workspace", str(workspace.root))
    assert "Plain SFT, 80 steps" in command("runs", *place).out
    assert command("runs", first, "--name", "baseline", "--tag", "june", "--json", *place).json[0]["note"]["tags"] == ["june"]
    assert {one["key"] for one in command("runs", first, second, "--json", *place).json} == {"optim.steps", "seed"}
    assert "2 runs are named" in command("runs", first, second, "--name", "both", *place).err
