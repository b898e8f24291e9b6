"""Where the project stands, and the one thing to do next, from an empty workspace to finished runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.errors import StoreError
from reft_studio.scoring.scores import ScoreSet, write_scores
from reft_studio.studio import project
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace


def upload(workspace: Workspace, name: str = "upload") -> Dataset:
    rows = [{"prompt": f"{name} {number}", "response": "answer"} for number in range(3)]
    facts = {"source": {"format": "openai"}, "report": {"quarantined": 2}}
    return write_dataset(workspace, rows, name=name, role="user", extra=facts)  # type: ignore[arg-type]


def scored(workspace: Workspace, dataset: Dataset, *, key: str = "k", teacher: str = "lab") -> ScoreSet:
    values = np.array([0.5, -0.5, -0.6], dtype=np.float32)
    return write_scores(workspace, dataset, values, key=key, scorer="s", teacher=teacher, threshold=-0.1, info={})


def page(studio: Studio) -> str:
    return studio.state().next_step.page


def test_an_empty_workspace_asks_for_data(studio: Studio) -> None:
    state = studio.state()
    assert (state.dataset, state.score, state.threshold, state.next_step.page) == (None, None, None, "data")
    assert state.masked and state.uses_lab and state.running == [] and state.queued == 0


def test_the_next_step_leads_from_data_to_the_filter_and_on_to_the_review(studio: Studio, workspace: Workspace) -> None:
    dataset = upload(workspace)
    assert (page(studio), studio.state().next_step.action) == ("filter", "Score the rows")
    scored(workspace, dataset)
    assert studio.state().next_step.action == "Set the threshold"
    studio.choose(threshold=0.2)
    assert page(studio) == "review"


def test_a_threshold_of_zero_is_a_choice_like_any_other(studio: Studio, workspace: Workspace) -> None:
    scored(workspace, upload(workspace))
    studio.choose(threshold=0.0)
    assert page(studio) == "review" and studio.state().threshold == 0.0


def test_frozen_data_goes_on_to_training_without_scores(studio: Studio, workspace: Workspace) -> None:
    dataset = upload(workspace)
    scored(workspace, dataset)
    frozen = studio.audit.freeze(dataset.id)
    state = studio.state()
    assert state.dataset is not None and (state.dataset.id, state.dataset.frozen_from) == (frozen.id, dataset.id)
    assert state.next_step.page == "train"


def test_waiting_work_is_the_first_thing_to_look_at(studio: Studio, workspace: Workspace) -> None:
    studio.scoring.start(upload(workspace).id)
    assert page(studio) == "train" and studio.state().queued == 1


def test_work_in_the_background_keeps_nobody_from_the_next_step(studio: Studio, workspace: Workspace) -> None:
    studio.jobs.submit("inspect", {"dataset": upload(workspace).id}, title="Inspect")
    assert studio.state().next_step.action == "Score the rows"


def test_finished_runs_lead_to_the_comparison(studio: Studio) -> None:
    studio.example.load()
    studio.choose(threshold=-0.2)
    assert page(studio) == "compare"


def test_a_dataset_in_a_list_says_where_it_came_from(workspace: Workspace) -> None:
    dataset = upload(workspace)
    one = project.summary(workspace, dataset)
    assert (one.source_format, one.quarantined, one.frozen_from) == ("openai", 2, None)
    assert not (one.scored or one.is_lab or one.example)
    scored(workspace, dataset)
    assert project.summary(workspace, dataset).scored


def test_what_was_chosen_and_is_gone_counts_as_not_chosen(studio: Studio, workspace: Workspace) -> None:
    first, second = upload(workspace, "first"), upload(workspace, "second")
    studio.choose(dataset=first.id)
    assert project.chosen_dataset(workspace) == project.summary(workspace, first)
    studio.datasets.delete(first.id)
    assert project.chosen_dataset(workspace) == project.summary(workspace, second)


def test_the_newest_scores_are_used_until_others_are_chosen(studio: Studio, workspace: Workspace) -> None:
    dataset = upload(workspace)
    scored(workspace, dataset, key="old")
    scored(workspace, dataset, key="new", teacher="t1")
    assert studio.state().score is not None and project.chosen_scores(workspace, dataset.id).key == "new"  # type: ignore[union-attr]
    assert not studio.state().uses_lab
    studio.choose(score_key="old")
    assert project.chosen_scores(workspace, dataset.id).key == "old"  # type: ignore[union-attr]


def test_a_damaged_dataset_is_left_out_and_the_others_stay(studio: Studio, workspace: Workspace) -> None:
    damaged, other, whole = upload(workspace, "damaged"), upload(workspace, "other version"), upload(workspace, "whole")
    (damaged.folder / "manifest.json").write_text('{"fingerprint": ', "utf-8")
    (other.folder / "manifest.json").write_text("{}", "utf-8")
    assert [one.id for one in studio.datasets.every()] == [whole.id] and studio.state().dataset is not None


def test_an_upload_that_was_audited_stays_as_long_as_its_audit(studio: Studio, workspace: Workspace) -> None:
    dataset = upload(workspace)
    scored(workspace, dataset)
    frozen = studio.audit.freeze(dataset.id)
    with pytest.raises(StoreError, match="rest on it"):
        studio.datasets.delete(dataset.id)
    studio.datasets.delete(frozen.id)
    studio.datasets.delete(dataset.id)
    assert studio.datasets.every() == []


def test_two_uploads_of_one_name_do_not_overwrite_each_other_while_they_wait(studio: Studio, tmp_path: Path) -> None:
    waiting = []
    for text in ("first", "second"):
        (tmp_path / "data.csv").write_text(f"prompt,response\n{text},yes\n", "utf-8")
        waiting.append(Path(studio.jobs.get(studio.imports.upload(tmp_path / "data.csv")).params["path"]))
    assert [path.name for path in waiting] == ["data.csv", "data.csv"]
    assert ["first" in path.read_text("utf-8") for path in waiting] == [True, False]


def test_a_browsers_upload_waits_under_a_second_name_and_a_users_file_is_copied(
    studio: Studio, workspace: Workspace, tmp_path: Path
) -> None:
    incoming = workspace.folder("uploads", "incoming")
    incoming.mkdir(parents=True)
    for folder in (incoming, tmp_path):
        (folder / "data.csv").write_text("prompt,response\nhello,yes\n", "utf-8")
    held, copied = (Path(studio.jobs.get(studio.imports.upload(folder / "data.csv")).params["path"]) for folder in (incoming, tmp_path))
    assert held.samefile(incoming / "data.csv") and not copied.samefile(tmp_path / "data.csv")
    (incoming / "data.csv").unlink()
    assert held.read_text("utf-8") == copied.read_text("utf-8"), "the page may forget its file"


def test_each_score_set_keeps_its_own_threshold(studio: Studio, workspace: Workspace) -> None:
    dataset = upload(workspace)
    old, new = scored(workspace, dataset, key="old"), scored(workspace, dataset, key="new")
    studio.choose(threshold=0.31049)
    assert project.chosen_threshold(workspace, new) == 0.31, "on the 0.001 grid of the page"
    assert project.chosen_threshold(workspace, old) == -0.1 and project.chosen_threshold(workspace, None) is None


def test_a_dataset_takes_its_scores_and_unfinished_scoring_along(studio: Studio, workspace: Workspace) -> None:
    first, second = upload(workspace, "first"), upload(workspace, "second")
    for one in (first, second):
        scored(workspace, one)
        workspace.folder("cache", "scoring", f"{one.id}-0123456789abcdef").mkdir(parents=True)
    studio.datasets.delete(first.id)
    assert [path.name for path in (workspace.root / "cache" / "scoring").iterdir()] == [f"{second.id}-0123456789abcdef"]
    assert [path.name for path in (workspace.root / "scores").iterdir()] == [second.id]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damaged_scores_are_not_used_and_are_the_next_thing_to_mend(studio: Studio, workspace: Workspace) -> None:
    dataset = upload(workspace)
    flip(scored(workspace, dataset).folder / "order.npy")
    state = studio.state()
    assert state.score is None
    assert state.next_step.text == "Scores of 'upload' are damaged on the disk and not used. Score its rows again."
    assert state.next_step.page == "filter"


def test_while_the_chosen_dataset_is_damaged_no_other_takes_its_place(studio: Studio, workspace: Workspace) -> None:
    chosen = upload(workspace)
    upload(workspace, "other")
    studio.choose(dataset=chosen.id)
    whole = chosen.path.read_bytes()
    flip(chosen.path)
    state = studio.state()
    assert state.dataset is None and "damaged on the disk: data.parquet. Import the file again" in state.next_step.text
    chosen.path.write_bytes(whole)
    assert studio.state().dataset is not None and studio.state().dataset.id == chosen.id  # type: ignore[union-attr]
