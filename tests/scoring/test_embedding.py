"""Nearest examples: differences of mean cosines by hand, laws, and a use on the lab's own data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reft_studio import stats
from reft_studio.errors import SpecError
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.scoring.embedding import Neighbours
from reft_studio.scoring.scores import open_score_set
from reft_studio.tasks import lab_data
from reft_studio.tasks.score import score_dataset
from reft_studio.tasks.scorers import prepare_scorer
from reft_studio.workspace import Workspace

STATES = np.array([[2, 1], [2, -1], [-2, 1], [-2, -1]], dtype=np.float32)
HARMFUL = np.array([True, True, False, False])


def test_the_difference_is_that_of_the_mean_cosines_to_the_nearest_of_each_kind() -> None:
    asked = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 3.0], [2.0, 1.0]])
    one, both = (Neighbours.of(STATES, HARMFUL, count=count).differences(asked) for count in (1, 2))
    side = 2 / 5**0.5
    assert both[:3].tolist() == pytest.approx([2 * side, -2 * side, 0.0], abs=1e-6)
    assert one[3].item() == pytest.approx(1 - -3 / 5, abs=1e-6), "it lies on one example, and (-2, 1) is its nearest harmless one"


def test_swapping_the_kinds_flips_the_sign_and_a_surplus_of_one_kind_does_not_move_the_centre() -> None:
    asked = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    known, swapped = Neighbours.of(STATES, HARMFUL, count=2), Neighbours.of(STATES, ~HARMFUL, count=2)
    assert torch.allclose(known.differences(asked), -swapped.differences(asked), atol=1e-6)
    more = Neighbours.of(np.concatenate([STATES, STATES[:2], STATES[:2]]), np.concatenate([HARMFUL, [True] * 4]), count=2)
    assert more.centre.tolist() == known.centre.tolist()


def test_more_neighbours_than_examples_are_all_of_them() -> None:
    asked = torch.tensor([[1.0, 0.5]])
    assert Neighbours.of(STATES, HARMFUL, count=99).differences(asked) == Neighbours.of(STATES, HARMFUL, count=2).differences(asked)


def test_it_finds_the_poison_of_the_lab_by_the_alignment_data(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    sets, user = lab_data.alignment(workspace, seed=0), lab_data.sample(workspace, rows=200, poison_ratio=0.1)
    wanted = {"scorer": "embedding", "teacher": "lab", "harmful": [sets.harmful], "harmless": [sets.helpful], "shipped": False}
    made = prepare_scorer(ForegroundContext(workspace), wanted)
    answer = score_dataset(ForegroundContext(workspace), {"dataset": user.id, "scorer": made["scorer"]})
    scores = open_score_set(workspace, user.id, answer["key"]).scores()
    known = np.array(user.table(["known_harmful"]).column(0).to_pylist(), dtype=bool)
    assert stats.auroc(scores[known], scores[~known]) > 0.95 and made["calibration"]["auroc"] > 0.9


def test_without_a_teacher_it_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="'embedding' reads through the model of a teacher"):
        prepare_scorer(ForegroundContext(Workspace.open(tmp_path)), {"scorer": "embedding"})
