"""The teachers that ship, read without their bases: whole, of this version, small, and as good as their cards say."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from reft_studio import stats
from reft_studio.teacher.calibration import rates
from reft_studio.teacher.refusal_feature import RefusalFeature
from reft_studio.teacher.separation import load_layers
from reft_studio.teacher.teacher import SHIPPED, open_teacher
from reft_studio.workspace import Workspace

MOST_BYTES = 12_000_000
NAMES = [name for name, folder in SHIPPED.items() if (folder / "teacher.json").is_file()]


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_read_and_its_layers_agree_with_its_refusal_feature(tmp_path: Path, name: str) -> None:
    teacher = open_teacher(Workspace.open(tmp_path), name)
    feature = RefusalFeature.load(teacher.folder / "refusal_feature.safetensors", layer=teacher.layer)
    own = load_layers(teacher)[teacher.layer - 1]
    points = torch.randn(5, len(feature.direction), generator=torch.Generator().manual_seed(0))
    assert own.reading == feature.reading and torch.allclose(own.similarity(points), feature.similarity(points), atol=1e-6)
    assert sum(path.stat().st_size for path in teacher.folder.rglob("*") if path.is_file()) < MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_its_numbers_are_those_of_its_held_out_scores(tmp_path: Path, name: str) -> None:
    teacher = open_teacher(Workspace.open(tmp_path), name)
    table = pq.read_table(teacher.folder / "calibration.parquet").to_pandas()
    harmful, harmless = (table.score[table.kind == kind].to_numpy() for kind in ("harmful", "harmless"))
    assert teacher.calibration["auroc"] == pytest.approx(stats.auroc(harmful, harmless), abs=1e-4)
    assert (len(harmful), len(harmless)) == (teacher.calibration["harmful"], teacher.calibration["harmless"])
    found = rates(harmful, harmless, threshold=teacher.threshold)
    assert found["recall"] == pytest.approx(teacher.calibration["recall"], abs=0.01)
    assert found["false_positive_rate"] == pytest.approx(teacher.calibration["false_positive_rate"], abs=0.01)
