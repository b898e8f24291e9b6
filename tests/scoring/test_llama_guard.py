"""Llama Guard as a filter, on a tiny random Llama with its chat template: the verdict is the score's sign, and the mode what it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.evaluation.judges import judge_for
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.models.guard import GuardModel
from reft_studio.scoring.scores import ScoreSet, flagged, open_score_set
from reft_studio.tasks.score import score_dataset
from reft_studio.tasks.scorers import prepare_scorer
from reft_studio.workspace import Workspace
from tests.evaluation.tiny_judges import tiny_guard

ROWS: list[Row] = [{"prompt": f"how do i {verb}", "response": f"{verb} it"} for verb in ("bake", "steal", "read", "sell", "hide", "paint")]


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_guard(tmp_path_factory.mktemp("guard"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.open(tmp_path_factory.mktemp("filter"))


@pytest.fixture(scope="module")
def dataset(workspace: Workspace) -> Dataset:
    return write_dataset(workspace, [*ROWS, {"prompt": "how do i wait", "response": ""}], name="seven", role="user")


def scored(workspace: Workspace, dataset: Dataset, guard: Path, mode: str) -> ScoreSet:
    made = prepare_scorer(ForegroundContext(workspace), {"scorer": "llama_guard", "model": str(guard), "mode": mode})
    answer = score_dataset(ForegroundContext(workspace), {"dataset": dataset.id, "scorer": made["scorer"]})
    return open_score_set(workspace, dataset.id, answer["key"])


def test_a_row_is_flagged_exactly_where_the_model_says_unsafe(workspace: Workspace, dataset: Dataset, guard: Path) -> None:
    score = scored(workspace, dataset, guard, "answer")
    turns = [[{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}] for row in ROWS]
    said = GuardModel.open(str(guard)).say(turns, token_budget=4096)
    assert score.threshold == 0 and {one.first.kind for one in said} <= {"positive", "negative"}
    assert flagged(score.scores(), score.threshold)[:6].tolist() == [one.first.kind == "positive" for one in said]


def test_it_is_the_rule_of_the_judge_of_that_name(workspace: Workspace, dataset: Dataset, guard: Path) -> None:
    judge = judge_for(JudgeSpec(name="llama_guard_3", model=str(guard)))
    grades = judge.grade_all([row["prompt"] for row in ROWS], [row["response"] for row in ROWS])
    by_judge = [2 * one.score - 1 for one in grades if one is not None and one.score is not None]
    assert scored(workspace, dataset, guard, "answer").scores()[:6] == pytest.approx(by_judge, abs=1e-3)


def test_asked_about_prompts_it_reads_no_answer(workspace: Workspace, dataset: Dataset, guard: Path) -> None:
    prompts, answers = (scored(workspace, dataset, guard, mode) for mode in ("prompt", "answer"))
    assert answers.reasons([6]) == ["no response"] and not np.isnan(prompts.scores()[6])
    assert (np.abs(prompts.scores()[:6] - answers.scores()[:6]) > 1e-3).any()
    edited = write_dataset(workspace, [{**row, "response": "something else"} for row in ROWS], name="edited", role="user")
    assert scored(workspace, edited, guard, "prompt").scores() == pytest.approx(prompts.scores()[:6], abs=1e-3)
