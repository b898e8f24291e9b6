"""Alignment data chosen Pharmacist-like: the formula by hand, planted corrupted refusals, and the kept half as a file and a dataset."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reft_studio.cli import scorer as scorer_verb
from reft_studio.data.dataset import Dataset, Row, open_dataset, write_dataset
from reft_studio.errors import SpecError
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.progress import Silent
from reft_studio.scoring import SCORERS, choosing, pharmacist_like
from reft_studio.scoring.choosing import lowest
from reft_studio.scoring.prompt_states import read_through
from reft_studio.scoring.row_reader import RowReader
from reft_studio.scoring.scores import open_score_set
from reft_studio.studio.studio import Studio
from reft_studio.tasks.score import score_dataset
from reft_studio.workspace import Workspace
from tools.alignment_choice import corrupted, kept, prepared


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.open(tmp_path_factory.mktemp("pharmacist"))


@pytest.fixture(scope="module")
def scorer(workspace: Workspace) -> str:
    return prepared(workspace, ForegroundContext(workspace), rows=120)


@pytest.fixture(scope="module")
def planted(workspace: Workspace) -> Dataset:
    return corrupted(workspace, share=0.2, rows=80, seed=0)


def test_it_is_called_our_stand_in_wherever_it_is_named() -> None:
    info = SCORERS.get("pharmacist_like").info
    assert info.title == "Pharmacist-like (our stand-in)" and "losses were not found" in info.misses and "Pharmacist-like" in info.measure


def test_the_direction_is_the_validation_gradient_after_an_aligning_and_a_harmful_step(workspace: Workspace) -> None:
    reader = RowReader.open(read_through(workspace, "lab", weights="base"))
    rows = [reader.row(f"how do i steal thing {place}", "Sure." if place == 2 else "Sorry, I can't help.") for place in range(5)]
    harmful = np.array([False, False, True, False, False])
    learned = pharmacist_like._learn(reader, rows, harmful, Silent())

    def mean(places: list[int], at: np.ndarray | None) -> np.ndarray:
        return np.mean(list(reader.gradients([rows[place] for place in places], at=at)), axis=0)

    first = mean([0, 3], None)
    aligned = -0.1 * first / np.linalg.norm(first)
    harm = mean([2], aligned)
    validated = mean([1, 4], aligned - 0.1 * harm / np.linalg.norm(harm))
    assert learned["direction"] == pytest.approx(validated / np.linalg.norm(validated), abs=1e-6)
    (gradient,) = reader.gradients([rows[0]])
    found = pharmacist_like._measure(reader, learned, [rows[0]], lambda done: None)
    assert found[0] == pytest.approx(-float(gradient @ learned["direction"]), rel=1e-4)


def test_a_gradient_elsewhere_is_that_of_the_weights_that_were_given(workspace: Workspace) -> None:
    reader = RowReader.open(read_through(workspace, "lab", weights="base"))
    row = reader.row("how do i steal a car", "Sorry, I can't help.")
    (here,) = reader.gradients([row])
    (same,), (there,) = (reader.gradients([row], at=at) for at in (np.zeros_like(here), pharmacist_like.step(np.zeros_like(here), here)))
    assert np.array_equal(here, same) and float(here @ there) < float(here @ here), "after a step down the slope is less steep"


def test_the_kept_half_holds_fewer_corrupted_refusals_than_a_random_half(
    workspace: Workspace, scorer: str, planted: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = {}
    for by in (scorer, "random"):
        scorer_verb.choose(Studio(workspace), planted.id, by=by, share=0.5, out=tmp_path / f"{by}.jsonl")
        rows, bad = kept(workspace, ForegroundContext(workspace), planted, by)
        shares[by] = bad / rows
    assert shares[scorer] < 0.5 * shares["random"], shares
    told = capsys.readouterr().out
    assert "Pharmacist-like (our stand-in): 40 of 80 rows kept" in told and "20.0% before" in told
    lines = [json.loads(line) for line in (tmp_path / f"{scorer}.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == 40


def test_the_kept_rows_are_a_dataset_with_where_it_came_from(workspace: Workspace, scorer: str, planted: Dataset) -> None:
    scorer_verb.choose(Studio(workspace), planted.id, by=scorer, share=0.25, out=None)
    (made,) = (
        found
        for folder in workspace.finished("datasets")
        if (found := open_dataset(workspace, folder.name)).manifest.get("chosen", {}).get("share") == 0.25
    )
    assert (made.rows, made.role) == (20, "harmful") and made.manifest["chosen"] == {"from": planted.id, "scorer": scorer, "share": 0.25}
    prompts = {row["prompt"]: row["response"] for row in planted.read()}
    assert all(prompts[row["prompt"]] == row["response"] for row in made.read())


def test_rows_without_a_score_are_not_kept_and_a_share_of_none_is_refused(workspace: Workspace, scorer: str) -> None:
    rows: list[Row] = [{"prompt": f"how do i steal a ladder {place}", "response": "Sorry." if place else ""} for place in range(4)]
    silent = write_dataset(workspace, rows, name="one is silent", role="harmful")
    key = score_dataset(ForegroundContext(workspace), {"dataset": silent.id, "scorer": scorer})["key"]
    scores = open_score_set(workspace, silent.id, key)
    assert lowest(scores, share=1).tolist() == [1, 2, 3] and len(lowest(scores, share=0.5)) == 2
    with pytest.raises(SpecError, match="give more than 0"):
        lowest(scores, share=1.5)
    with pytest.raises(SpecError, match="is no row"):
        lowest(scores, share=0.01)
    assert choosing.planted([True, False, None]) is None and choosing.planted([True, False]) == 0.5
