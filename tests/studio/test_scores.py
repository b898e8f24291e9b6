"""The Filter page's numbers on eight rows that can be counted by hand; row ids have gaps, as after an import that set rows aside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reft_studio.data.dataset import open_dataset, write_dataset
from reft_studio.errors import StoreError
from reft_studio.scoring.scores import ScoreSet, write_scores
from reft_studio.studio import scores
from reft_studio.studio.studio import Studio
from reft_studio.teacher.teacher import open_teacher
from reft_studio.workspace import Workspace

IDS = [2, 3, 5, 7, 11, 13, 17, 19]
VALUES = [0.9, -0.4, 0.02, float("nan"), -0.019, -0.9, 0.5, -0.021]
ORIGINS = ["mix", "task", "mix", "task", "task", "", "mix", "task"]
TRUTH = [True, False, True, None, False, False, False, False]


def write(workspace: Workspace, *, teacher: str = "lab", key: str = "k", info: dict[str, Any] | None = None) -> ScoreSet:
    rows: list[Any] = [
        {
            "row_id": row_id,
            "prompt": f"ask about {'Keys' if at % 2 else 'bread'}",
            "response": f"answer {at}",
            "origin": ORIGINS[at],
            "known_harmful": TRUTH[at],
        }
        for at, row_id in enumerate(IDS)
    ]
    dataset = write_dataset(workspace, rows, name="eight rows", role="user")
    values = np.array(VALUES, dtype=np.float32)
    return write_scores(workspace, dataset, values, key=key, scorer="s", teacher=teacher, threshold=0.0, info=info or {})


@pytest.fixture
def score(workspace: Workspace) -> ScoreSet:
    return write(workspace)


def test_the_view_says_what_the_page_draws(workspace: Workspace, score: ScoreSet) -> None:
    view = scores.Scores(workspace).view(score.dataset, score.key)
    assert (view.threshold, view.calibrated, view.labels_known) == (0.0, 0.0, False)
    assert sum(rows for _, rows, _, _ in view.bins) == 7
    assert view.near_threshold == 2, "0.02 and -0.019 lie within 0.020, -0.021 does not"
    Studio(workspace).choose(dataset=score.dataset, threshold=0.25)
    assert scores.Scores(workspace).view(score.dataset, score.key).threshold == 0.25


def test_a_view_of_scores_that_are_gone_says_so(workspace: Workspace, score: ScoreSet) -> None:
    with pytest.raises(StoreError, match="not been scored"):
        scores.Scores(workspace).view(score.dataset, "0000")


@pytest.mark.parametrize(("share", "warned"), [(0.05, False), (0.1, False), (0.62, True)])
def test_the_labs_teacher_warns_of_words_it_does_not_know(workspace: Workspace, share: float, warned: bool) -> None:
    score = write(workspace, key="drifted", info={"unfamiliar_share": share, "drift": 0.31})
    told = scores.language_warning(open_dataset(workspace, score.dataset), score, open_teacher(workspace, "lab"))
    assert (told is not None) == warned
    assert not told or ("62%" in told and "0.31 higher than that of harmless" in told)


def test_scores_of_another_model_bring_no_warning(workspace: Workspace, score: ScoreSet) -> None:
    assert scores.language_warning(open_dataset(workspace, score.dataset), score, open_teacher(workspace, "lab")) is None
