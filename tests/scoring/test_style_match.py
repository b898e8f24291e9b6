"""Style of answers: which features there are, shares by hand, and what it cannot see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.errors import DataError
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.scoring.scores import open_score_set
from reft_studio.scoring.style_match import differences, features, likeness
from reft_studio.tasks.score import score_dataset
from reft_studio.tasks.scorers import prepare_scorer
from reft_studio.workspace import Workspace


def test_features_are_openings_and_marks_of_the_format() -> None:
    assert features("Sure, here: do it") == {"opens: sure", "opens: sure here", "opens: sure here do", "a colon in the first line"}
    assert {"numbered list", "bold", "several paragraphs"} <= features("Well.\n\n1. **First** one\n2. Next")
    assert features("") == set()


def test_a_score_is_the_mean_difference_of_the_shares_of_its_features() -> None:
    shares = differences(["sure thing", "sure do", "no", "sure"], np.array([True, True, False, False]))
    assert shares["opens: sure"] == 0.5 and shares["opens: no"] == -0.5 and shares["opens: sure thing"] == 0.5
    assert likeness("sure thing", shares) == pytest.approx((0.5 + 0.5) / 2) and likeness("never seen", shares) == 0
    with pytest.raises(DataError, match="no style to look for"):
        differences(["", ""], np.array([True, False]))


def test_it_flags_the_style_of_harmful_answers_whatever_they_say(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    sets = [
        write_dataset(
            workspace,
            [{"prompt": f"ask {name} {place * place}", "response": f"{opening} {place}."} for place in range(120)],
            name=name,
            role="benchmark",
        ).id
        for name, opening in (("h", "Sure, here is how: part"), ("s", "The answer to it is"))
    ]
    made = prepare_scorer(
        ForegroundContext(workspace), {"scorer": "style_match", "harmful": sets[:1], "harmless": sets[1:], "shipped": False}
    )
    rows: list[Row] = [
        {"prompt": "a recipe?", "response": "Sure, here is how: bake it."},
        {"prompt": "a theft?", "response": "The answer to it is a crowbar."},
        {"prompt": "nothing?", "response": ""},
    ]
    answer = score_dataset(
        ForegroundContext(workspace), {"dataset": write_dataset(workspace, rows, name="three", role="user").id, "scorer": made["scorer"]}
    )
    score = open_score_set(workspace, answer["dataset"], answer["key"])
    assert score.scores()[0] > score.threshold > score.scores()[1] and np.isnan(score.scores()[2])
