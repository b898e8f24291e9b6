from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from reft_studio.data.splits import group_key
from reft_studio.errors import DataError
from reft_studio.lab import sets
from reft_studio.teacher.calibration import best_layer, candidate_layers, report, separation, threshold_for_recall
from reft_studio.teacher.teacher import open_teacher
from reft_studio.workspace import Workspace


def test_the_threshold_flags_at_least_the_recall_that_was_asked_for() -> None:
    scores = np.linspace(-0.9, 0.1, 100, dtype=np.float32)
    threshold = threshold_for_recall(scores, recall=0.97)
    assert (scores >= threshold).sum() == 97


def test_the_threshold_never_lies_above_the_boundary_of_the_regulariser() -> None:
    assert threshold_for_recall(np.full(50, 0.99, dtype=np.float32), recall=0.97) == 0


@pytest.mark.parametrize(("recall", "missed"), [(0.9, 3), (0.8, 6), (0.97, 0)])
def test_the_threshold_is_the_largest_that_does(recall: float, missed: int) -> None:
    scores = np.linspace(-1, -0.5, 30, dtype=np.float32)
    assert threshold_for_recall(scores, recall=recall) == scores[missed]


def test_too_few_held_out_prompts_are_refused_with_the_number_needed() -> None:
    with pytest.raises(DataError, match="at least 30"):
        threshold_for_recall(np.zeros(29, dtype=np.float32), recall=0.97)


def test_ties_between_layers_go_to_the_one_nearest_the_middle() -> None:
    assert best_layer({1: 0.9, 2: 0.99, 3: 0.99}, depth=5) in (2, 3)
    assert best_layer({2: 0.99, 3: 0.99, 4: 0.99}, depth=6) == 3
    assert best_layer({1: 0.9, 2: 0.95}, depth=2) == 2


def test_the_sweep_leaves_out_the_first_and_the_last_blocks() -> None:
    assert candidate_layers(32) == list(range(10, 27))
    assert candidate_layers(1) == [1]


def test_separation_is_one_where_a_layer_tells_the_kinds_apart_and_half_where_it_cannot() -> None:
    generator = torch.Generator().manual_seed(0)
    same = torch.randn(200, 1, 4, generator=generator)
    apart = torch.cat([torch.ones(200, 1, 4), -torch.ones(200, 1, 4)], dim=0)
    harmful = torch.cat([same[:100], apart[:100]], dim=1)
    harmless = torch.cat([same[100:], apart[200:300]], dim=1)
    found = separation((harmful[:50], harmless[:50]), (harmful[50:], harmless[50:]), [1, 2])
    assert found[2] == 1.0
    assert 0.3 < found[1] < 0.7


@pytest.mark.parametrize("name", ["lab", "lab-aligned"])
def test_the_shipped_teachers_hold_the_scores_behind_their_numbers(name: str, tmp_path: Path) -> None:
    teacher = open_teacher(Workspace.open(tmp_path / "workspace"), name)
    table = pq.read_table(teacher.folder / "calibration.parquet").to_pydict()
    scores = {
        kind: np.array([s for k, s in zip(table["kind"], table["score"], strict=True) if k == kind]) for kind in ("harmful", "harmless")
    }
    found = report(scores["harmful"], scores["harmless"], threshold=teacher.threshold, layers={})
    assert {key: value for key, value in found.items() if key != "layer_auroc"} == {
        key: teacher.calibration[key] for key in found if key != "layer_auroc"
    }
    held_out = [row["prompt"] for rows in sets.calibration("validation") for row in rows]
    assert table["group"] == [group_key(prompt) for prompt in held_out]
