from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from reft_studio.errors import PrerequisiteError
from reft_studio.progress import Silent
from reft_studio.training.event_file import EventFile
from reft_studio.training.reporting import check, report
from reft_studio.training.watch import Observer, read_watch

LINE = {"step": 1, "judge": "lab_compliance", "seconds": 0.5, "hs": [50.0, 28.0, 72.0, 16], "over_refusal": None, "fa": None, "answers": []}


class Told(Silent):
    """Keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, Any]]] = []

    def tell(self, kind: str, **values: Any) -> None:
        self.found.append((kind, values))


class AtTwo:
    """Looks after the second step."""

    def due(self, step: int, steps: int) -> bool:
        return step == 2

    def check(self, step: int, steps: int, on: Sequence[str] = ()) -> dict[str, Any]:
        return {**LINE, "step": step}


def scalars(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """Steps and numbers as TensorBoard keeps them: what was said of a step before a later start at or below it is forgotten."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[int, dict[str, float]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: int(path.suffix[1:])):
        data, at = path.read_bytes(), 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 8], "little")
            event = Event.FromString(data[at + 12 : at + 12 + size])
            at += 16 + size
            if event.session_log.status == 1:  # START
                found = {step: values for step, values in found.items() if step < event.step}
            for value in event.summary.value:
                found.setdefault(event.step, {})[value.tag] = round(value.simple_value, 4)
    return sorted(found.items())


def test_a_training_that_goes_on_makes_the_viewer_forget_the_steps_it_does_again(tmp_path: Path) -> None:
    first = EventFile(tmp_path / "tensorboard", step=1)
    for step in (1, 2, 3):
        first.add(step, {"train/loss": 1.0})
    first.close()
    again = EventFile(tmp_path / "tensorboard", step=3)
    again.add(3, {"train/loss": 0.5})
    again.close()
    assert scalars(tmp_path / "tensorboard") == [(1, {"train/loss": 1.0}), (2, {"train/loss": 1.0}), (3, {"train/loss": 0.5})]


def test_what_was_seen_is_told_stored_with_the_run_and_told_again_when_it_goes_on(tmp_path: Path) -> None:
    told = Told()
    observer = Observer(told, student_check=AtTwo(), folder=tmp_path / "unfinished")
    for line in ({"step": step, "steps": 2, "loss": 1.5} for step in (1, 2)):
        observer.tell(line)
        if observer.due(line):
            observer.check(line)
    assert told.found == [("watch", {**LINE, "step": 2})]
    run = tmp_path / "run"
    run.mkdir()
    observer.store(run)
    assert read_watch(run) == [{**LINE, "step": 2}]
    assert scalars(run / "tensorboard") == [(1, {"train/loss": 1.5}), (2, {"train/loss": 1.5, "quick/hs": 50.0})]
    later = Told()
    Observer(later).restore(observer.state())
    assert later.found == told.found


def test_a_run_that_nobody_looked_at_has_nothing_to_show(tmp_path: Path) -> None:
    Observer(Silent()).store(tmp_path)
    assert read_watch(tmp_path) == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", ["trackio", "wandb"])
def test_a_program_that_is_not_installed_is_named_before_the_run(to: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PrerequisiteError, match=f"pip install {to}"):
        check(to)
    check("none")


def test_another_program_is_told_every_step_and_sends_nothing_unless_a_person_allowed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, Any]] = []
    logged: list[tuple[int, dict[str, float]]] = []
    run = types.SimpleNamespace(log=lambda values, step: logged.append((step, values)), finish=lambda **_: logged.append((0, {})))
    fake = types.ModuleType("wandb")
    fake.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    fake.init = lambda **options: begun.append(options) or run  # type: ignore[attr-defined,func-returns-value]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    found = report("wandb", tmp_path / "wandb", name="Plain SFT", run_id="r1", config={"seed": 0})
    assert found is not None
    observer = Observer(Silent(), reports=[found])
    observer.tell({"step": 1, "steps": 1, "loss": 2.0})
    observer.close()
    assert (begun[0]["mode"], begun[0]["id"], begun[0]["dir"]) == ("offline", "r1", str(tmp_path / "wandb"))
    assert logged == [(1, {"train/loss": 2.0}), (0, {})]
    monkeypatch.setenv("WANDB_MODE", "online")
    report("wandb", tmp_path / "wandb", name="Plain SFT", run_id="r1", config={})
    assert begun[1]["mode"] == "online"
