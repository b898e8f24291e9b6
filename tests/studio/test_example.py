"""The finished example: packed from a workspace, copied into another, true to what was made; a person's own work is never replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from reft_studio.data.dataset import open_dataset
from reft_studio.errors import StoreError
from reft_studio.studio import example
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace, read_json, write_json


def test_the_example_gives_every_page_something_true_to_show(studio: Studio) -> None:
    dataset = studio.example.load()
    state = studio.state()
    assert state.dataset is not None and state.dataset.id == dataset and state.dataset.example
    assert state.score is not None and studio.scores.view(dataset, state.score.key).labels_known
    assert {run.method for run in studio.runs.finished()} >= {"sft", "ref_teacher"}
    assert all(run.example and run.hs and run.fa and run.over_refusal for run in studio.runs.finished())
    assert studio.comparison.every().reasons == [], "all of it may be compared"
    assert studio.audit.verify().ok and studio.review_queue.batch(dataset).items


def test_its_badge_tells_the_day_it_was_made(studio: Studio) -> None:
    assert studio.example.made_on == read_json(example.EXAMPLE / "example.json")["made_on"]


def test_loading_it_twice_changes_nothing(studio: Studio, workspace: Workspace) -> None:
    dataset = studio.example.load()
    kept = open_dataset(workspace, dataset)
    (kept.folder / "note.txt").write_text("mine", "utf-8")
    assert studio.example.load() == dataset
    assert (kept.folder / "note.txt").is_file() and len(studio.datasets.every()) == 1


def test_an_evaluation_of_the_users_own_is_not_replaced(studio: Studio, workspace: Workspace) -> None:
    own = workspace.folder("evaluations", "base--lab")
    own.mkdir(parents=True)
    (own / "result.json").write_text("{}", "utf-8")
    studio.example.load()
    assert (own / "result.json").read_text("utf-8") == "{}"


def test_packing_marks_what_it_packs_and_loading_gives_it_back(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = example.load(workspace)
    runs = sorted(path.name for path in workspace.folder("runs").iterdir())[:1]
    for path in (workspace.folder("datasets", dataset) / "manifest.json", workspace.folder("runs", runs[0]) / "result.json"):
        write_json(path, {name: value for name, value in read_json(path).items() if name != "example"})
    example.pack(workspace, dataset=dataset, runs=runs, subjects=["base--lab"], made_on="2026-01-02", target=tmp_path / "packed")
    monkeypatch.setattr(example, "EXAMPLE", tmp_path / "packed")
    other = Workspace.open(tmp_path / "other")
    assert (example.load(other), example.made_on()) == (dataset, "2026-01-02")
    assert read_json(other.folder("runs", runs[0]) / "result.json")["example"] == "2026-01-02"
    assert sorted(path.name for path in other.folder("evaluations").iterdir()) == sorted([*runs, "base--lab"])


def test_an_installation_without_the_example_says_what_to_press(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "EXAMPLE", tmp_path / "nothing")
    assert example.made_on() is None
    with pytest.raises(StoreError, match="Try it now"):
        example.load(workspace)
