"""The teacher card: its separation map, and what it says where there is none."""

from __future__ import annotations

import json
import shutil

import pytest

from reft_studio.integrity import SUMS
from reft_studio.studio.studio import Studio
from reft_studio.teacher import details
from reft_studio.teacher.teacher import adopt, open_teacher
from reft_studio.workspace import Workspace
from ui.filter.teacher_card import card_value


@pytest.fixture
def studio(workspace: Workspace) -> Studio:
    return Studio(workspace)


def test_the_map_names_the_cell_in_use_with_its_auroc(studio: Studio) -> None:
    value = json.loads(card_value(studio, "lab"))
    found, teacher = value["map"], open_teacher(studio.workspace, "lab")
    assert (found["layer"], found["position"]) == (teacher.layer, -1) and value["map_note"] == ""
    assert found["auroc"][teacher.layer - 1][0] == pytest.approx(teacher.calibration["auroc"], abs=1e-4)
    assert "block 2, last token, 0.9988" in found["caption"] and "300 harmful" in found["caption"]


def test_a_teacher_without_a_map_says_how_to_get_one(studio: Studio, workspace: Workspace) -> None:
    old = workspace.root / "old"
    shutil.copytree(open_teacher(workspace, "lab").folder, old)
    (old / details.MAP).unlink()
    (old / SUMS).unlink()
    value = json.loads(card_value(studio, adopt(workspace, old)))
    assert value["map"] is None and "Prepare it again" in value["map_note"]


def test_a_damaged_map_leaves_the_rest_of_the_card(studio: Studio, workspace: Workspace) -> None:
    old = workspace.root / "old"
    shutil.copytree(open_teacher(workspace, "lab").folder, old)
    (old / details.MAP).write_text("{}", "utf-8")
    (old / SUMS).unlink()  # as an earlier version left it, which kept no hashes
    value = json.loads(card_value(studio, adopt(workspace, old)))
    assert value["map"] is None and "damaged" in value["map_note"] and value["facts"]
