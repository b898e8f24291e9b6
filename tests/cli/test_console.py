"""What a terminal shows of work and results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reft_studio.cli.console import Console, Output, keep, output, show, table, writable
from reft_studio.errors import PrerequisiteError
from reft_studio.progress import PartialProgress
from reft_studio.workspace import Workspace


class Noted:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.warnings: list[str] = []

    def stage(self, name: str, index: int, count: int) -> None:
        raise AssertionError("a part has no stages of its own")

    def progress(self, done: int, total: int, **_metrics: float) -> None:
        self.told.append((done, total))

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def check(self) -> None:
        raise KeyboardInterrupt


def test_a_part_counts_over_the_whole_and_passes_the_rest_on() -> None:
    whole = Noted()
    part = PartialProgress(whole, start=0.5, share=0.25)
    part.stage("hidden", 1, 1)
    for done in (0, 5, 10, 20):
        part.progress(done, 10)
    part.progress(0, 0)
    assert whole.told == [(500, 1000), (625, 1000), (750, 1000), (750, 1000), (500, 1000)]
    part.warn("note")
    assert whole.warnings == ["note"]
    with pytest.raises(KeyboardInterrupt):
        part.check()


def test_without_a_terminal_each_stage_is_one_line(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.stage("load", 1, 2)
    console.progress(1, 2, loss=0.5)
    console.stage("train", 2, 2)
    console.warn("a note")
    console.done()
    assert capsys.readouterr().err == "[1/2] load\n[2/2] train\nNote: a note\n"
    assert console.warnings == ["a note"]


def test_without_a_terminal_long_work_says_every_half_minute_how_far_it_is(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter((0.0, 10.0, 31.0, 40.0, 62.0))
    monkeypatch.setattr("reft_studio.cli.console.monotonic", lambda: next(clock))  # not the clock of every thread: an app may run beside
    console = Console()
    console.stage("train", 1, 1)
    for done in (1, 2, 3, 4):
        console.progress(done, 8, loss=0.5)
    assert capsys.readouterr().err == "[1/1] train\n[1/1] train  25%, loss 0.500\n[1/1] train  50%, loss 0.500\n"


def test_results_are_text_for_people_and_json_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    show({"rows": 3}, text=lambda: "3 rows")
    with output(Output(as_json=True)):
        show({"rows": 3}, text=lambda: "3 rows")
    assert capsys.readouterr().out == '3 rows\n{\n "rows": 3\n}\n'


def test_a_file_that_is_wanted_holds_the_result_and_before_that_what_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "found.json"
    with output(Output(file=file)):
        keep({"rows": 1})
        assert json.loads(file.read_text("utf-8")) == {"rows": 1}
        show({"rows": 3}, text=lambda: "3 rows")
    assert json.loads(file.read_text("utf-8")) == {"rows": 3} and capsys.readouterr().out == "3 rows\n"
    with pytest.raises(PrerequisiteError, match="is a folder"), output(Output(file=tmp_path)):
        raise AssertionError("no work begins")


def test_a_table_has_names_to_the_left_and_numbers_to_the_right() -> None:
    assert table([["sft", "9.5"], ["ref_teacher", "10.0"]], ["method", "HS"]) == "method         HS\nsft           9.5\nref_teacher  10.0"


def test_a_place_that_cannot_be_written_is_known_before_the_work(tmp_path: Path) -> None:
    writable(None)
    writable(tmp_path / "new folder" / "file.json")
    with pytest.raises(PrerequisiteError, match="is a folder"):
        writable(tmp_path)
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(PrerequisiteError, match="no folder that can be written to"):
        writable(tmp_path / "file" / "out.json")
