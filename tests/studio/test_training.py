from __future__ import annotations

import pytest

from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.studio.studio import Studio
from reft_studio.studio.training import watch_from
from reft_studio.training.watch import WatchSpec
from reft_studio.workspace import Workspace


def test_one_word_says_how_a_run_is_looked_at() -> None:
    assert watch_from("auto") == WatchSpec()
    assert watch_from("off").prompts == 0
    assert watch_from("20", report_to="wandb") == WatchSpec(every=20, report_to="wandb")


@pytest.mark.parametrize("text", ["", "0", "-3", "1.5", "often"])
def test_any_other_word_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(SpecError, match="auto, off, or a number of steps"):
        watch_from(text)


def test_how_runs_are_looked_at_is_kept_unless_it_cannot_be(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Studio(workspace).training
    assert training.watch() == WatchSpec()
    training.save_watch("50", "none")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PrerequisiteError, match="pip install trackio"):
        training.save_watch("off", "trackio")
    assert Studio(workspace).training.watch() == WatchSpec(every=50)
