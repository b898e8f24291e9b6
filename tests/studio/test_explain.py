"""Why a row was flagged, on rows of the lab that the real teacher scored; the model host's answers are computed in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_studio import integrity
from reft_studio.chat.host import ModelHost
from reft_studio.chat.host_worker import HostWorker
from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.data.index.inspect import inspect
from reft_studio.errors import DataError, SpecError
from reft_studio.lab import sets
from reft_studio.models.session import Session
from reft_studio.progress import Silent
from reft_studio.scoring.refusal_similarity import score
from reft_studio.scoring.scores import ScoreSet, write_scores
from reft_studio.studio.explain import LISTED, Explaining
from reft_studio.studio.studio import Studio
from reft_studio.teacher import details
from reft_studio.teacher.teacher import adopt, open_teacher
from reft_studio.workspace import Workspace

EMPTY, TWICE = 7, [2, 11, 13]
"""Ids of the row that says nothing, and of the rows that ask the same."""


class HostHere(ModelHost):
    """Answers in this process, and counts how often it was asked."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.worker, self.asked = HostWorker(workspace), 0

    def request(self, **fields: Any) -> Iterator[dict[str, Any]]:
        self.asked += 1
        yield from self.worker.answer({"id": "here", **fields})


class Scene:
    def __init__(self, workspace: Workspace) -> None:
        harmful, harmless = sets.calibration("validation", rows=2)
        texts = {2: harmful[0]["prompt"], 3: harmless[0]["prompt"], 5: harmless[1]["prompt"], EMPTY: " ", 11: harmful[0]["prompt"]}
        rows: list[Any] = [{"row_id": at, "prompt": text, "response": f"answer {at}", "known_harmful": None} for at, text in texts.items()]
        rows.append({**rows[0], "row_id": 13, "response": "another answer"})
        self.workspace, self.studio = workspace, Studio(workspace)
        self.dataset: Dataset = write_dataset(workspace, rows, name="asked", role="user")
        self.scores: ScoreSet = score(workspace, self.dataset, open_teacher(workspace, "lab"), Session.open("lab"), Silent())
        self.host = HostHere(workspace)
        self.explain = Explaining(workspace, self.host)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(Workspace.open(tmp_path_factory.mktemp("explaining")))


def test_the_last_tokens_cosine_equals_the_rows_score(scene: Scene) -> None:
    for row_id in (2, 3, 5):
        facts, asked = scene.explain.facts(scene.dataset.id, row_id), scene.explain.asked(scene.dataset.id, row_id)
        assert facts.score is not None and facts.score == pytest.approx(asked.inside.tokens[-1].cosine, abs=1e-4)
        at = asked.layers[asked.layer - 1]
        assert at.cosine == pytest.approx(facts.score, abs=1e-4) and at.harmful is not None and at.harmful[1] > 0.9


def test_rows_with_the_same_prompt_are_named_and_no_others(scene: Scene) -> None:
    for row_id in TWICE:
        found = scene.explain.facts(scene.dataset.id, row_id)
        assert found.duplicates == [one for one in TWICE if one != row_id] and not found.more
    assert scene.explain.facts(scene.dataset.id, 3).duplicates == []


def test_after_an_inspection_rows_that_nearly_repeat_it_are_named_too(workspace: Workspace) -> None:
    text = "Please tell me in a few words what the baker at the corner of our street does every morning before he opens his shop "
    text += "and what he does in the afternoon when nobody wants to buy bread because the rain keeps all the people of our town at home"
    rows: list[Any] = [{"prompt": prompt, "response": "He bakes."} for prompt in (text, f"{text} then", "what is rain", text)]
    dataset = write_dataset(workspace, rows, name="near", role="user")
    values = np.array([0.25, 0.24, 0.25, 0.25], np.float32)
    write_scores(workspace, dataset, values, key="k", scorer="s", teacher="lab", threshold=0.0, info={})
    explaining = Explaining(workspace, ModelHost(workspace))
    assert explaining.facts(dataset.id, 0).near is None
    inspect(dataset, Silent())
    found = explaining.facts(dataset.id, 0)
    assert (found.duplicates, found.near) == ([3], [1])


def test_a_row_without_a_score_says_why_and_nothing_is_guessed(scene: Scene) -> None:
    found = scene.explain.facts(scene.dataset.id, EMPTY)
    assert (found.score, found.reason, found.duplicates) == (None, "empty prompt", None)
    with pytest.raises(DataError, match="no user turn"):
        scene.explain.asked(scene.dataset.id, EMPTY)


def test_the_same_row_is_explained_once_and_then_remembered(scene: Scene) -> None:
    before = scene.explain.asked(scene.dataset.id, 5)
    count = scene.host.asked
    assert scene.explain.asked(scene.dataset.id, 5) == before and scene.host.asked == count
    assert scene.explain.asked(scene.dataset.id, 13).inside == scene.explain.asked(scene.dataset.id, 2).inside


def test_other_sets_of_scores_give_their_verdict_with_their_own_threshold(scene: Scene) -> None:
    values = np.array([0.5, -0.2, 0.1, np.nan, 0.1, 0.1], dtype=np.float32)
    facts: dict[str, Any] = {"scorer": "other", "teacher": "lab-aligned", "threshold": 0.3, "info": {}}
    write_scores(scene.workspace, scene.dataset, values, key="other", **facts)
    verdicts = {row_id: scene.explain.facts(scene.dataset.id, row_id, scene.scores.key).verdicts for row_id in (2, 3, EMPTY)}
    assert [(one.title, one.flagged) for one in verdicts[2]] == [("Lab aligned weights", True)]
    assert [one.flagged for one in verdicts[3]] == [False] and [one.flagged for one in verdicts[EMPTY]] == [None]
    shutil.rmtree(scene.scores.folder.parent / "other")


def test_more_duplicates_than_are_listed_are_told_as_more(workspace: Workspace) -> None:
    rows: list[Any] = [{"prompt": "the same", "response": str(at), "known_harmful": None} for at in range(LISTED + 5)]
    dataset = write_dataset(workspace, rows, name="same", role="user")
    write_scores(workspace, dataset, np.full(len(rows), 0.25, np.float32), key="k", scorer="s", teacher="lab", threshold=0.0, info={})
    found = Explaining(workspace, ModelHost(workspace)).facts(dataset.id, 4)
    assert found.duplicates is not None and len(found.duplicates) == LISTED and found.more and 4 not in found.duplicates


def test_a_teacher_without_the_files_says_what_is_missing_and_how_to_get_it(scene: Scene, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(open_teacher(scene.workspace, "lab").folder, old)
    for name in details.FILES:
        (old / name).unlink()
    (old / integrity.SUMS).unlink()
    name = adopt(scene.workspace, old)
    facts: dict[str, Any] = {"scorer": "s", "teacher": name, "threshold": 0.0, "info": {}}
    write_scores(scene.workspace, scene.dataset, scene.scores.scores(), key="older", **facts)
    found, asked = scene.explain.facts(scene.dataset.id, 2, "older"), scene.explain.asked(scene.dataset.id, 2, "older")
    assert found.ready and "Prepare it again" in found.lacks and asked.layers == [] and asked.inside.neighbours == {}
    assert scene.explain.separation(name) is None
    shutil.rmtree(scene.scores.folder.parent / "older")


def test_a_teacher_that_is_gone_is_named_and_the_facts_stay(scene: Scene) -> None:
    facts: dict[str, Any] = {"scorer": "s", "teacher": "tgone", "threshold": 0.0, "info": {}}
    write_scores(scene.workspace, scene.dataset, scene.scores.scores(), key="gone", **facts)
    found = scene.explain.facts(scene.dataset.id, 2, "gone")
    assert "no prepared scorer 'tgone'" in found.lacks and found.score is not None and not found.ready
    shutil.rmtree(scene.scores.folder.parent / "gone")


def test_rows_and_scores_that_are_not_there_are_named(scene: Scene, workspace: Workspace) -> None:
    with pytest.raises(DataError, match="no row 4"):
        scene.explain.facts(scene.dataset.id, 4)
    dataset = write_dataset(workspace, [{"prompt": "a", "response": "b"}], name="plain", role="user")
    with pytest.raises(SpecError, match="no scores"):
        Explaining(workspace, ModelHost(workspace)).facts(dataset.id, 0)


def test_the_map_of_the_lab_teacher_has_its_chosen_cell_at_the_last_token(scene: Scene) -> None:
    found = scene.studio.explain.separation("lab")
    assert found is not None and found.at(found.layer, found.position) == pytest.approx(0.99884, abs=1e-4)
