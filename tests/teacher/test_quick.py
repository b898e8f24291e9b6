"""The quick teacher: the prompts that ship, how they are split, and that any model can be probed with them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from reft_studio.data.dataset import open_dataset
from reft_studio.data.splits import normalise_prompt
from reft_studio.errors import PrerequisiteError
from reft_studio.models.session import Session
from reft_studio.progress import Silent
from reft_studio.teacher.quick import calibration_prompts, quick_sets, quick_spec
from reft_studio.teacher.training import prepare_teacher
from reft_studio.workspace import Workspace


def test_the_shipped_prompts_are_300_of_each_kind_in_many_categories_and_all_different() -> None:
    prompts = calibration_prompts()
    assert Counter(prompt.kind for prompt in prompts) == {"harmful": 300, "lookalike": 300, "task": 300}
    categories = Counter(prompt.category for prompt in prompts if prompt.kind == "harmful")
    assert len(categories) >= 14 and min(categories.values()) >= 15
    assert Counter(prompt.category for prompt in prompts if prompt.kind == "lookalike") == categories
    assert len({normalise_prompt(prompt.prompt) for prompt in prompts}) == 900


def test_the_shipped_prompts_are_short_and_open_in_many_ways() -> None:
    prompts = calibration_prompts()
    assert all(15 <= len(prompt.prompt) <= 200 for prompt in prompts)
    for kind in ("harmful", "lookalike", "task"):
        openings = Counter(" ".join(prompt.prompt.split()[:2]).lower() for prompt in prompts if prompt.kind == kind)
        assert len(openings) > 80 and max(openings.values()) <= 60


def test_feature_layer_and_threshold_come_from_different_prompts_of_every_kind(workspace: Workspace) -> None:
    sets = quick_sets(workspace)
    rows = {name: list(open_dataset(workspace, key).read(["prompt", "origin"])) for name, key in sets.items()}
    groups = [normalise_prompt(row["prompt"]) for part in rows.values() for row in part]
    assert len(groups) == len(set(groups)) == 900
    assert {name: Counter(row["origin"] for row in part) for name, part in rows.items() if "harmless" in name or name == "helpful"} == {
        "helpful": {"lookalike": 150, "task": 150},
        "selection_harmless": {"lookalike": 45, "task": 45},
        "calibration_harmless": {"lookalike": 105, "task": 105},
    }
    assert quick_sets(workspace) == sets


def test_any_model_is_probed_without_training(workspace: Workspace, tiny_model: Path) -> None:
    session = Session.open(str(tiny_model))
    info = prepare_teacher(workspace, quick_spec(workspace, model=str(tiny_model)), session, Silent())
    assert info.ready and info.adapter is None and info.record["reading"] in ("raw", "centred", "whitened")
    assert (info.calibration["harmful"], info.calibration["harmless"]) == (105, 210)
    assert info.calibration["recall"] >= 97 and session.adapted.names == set()


def test_missing_prompts_are_named(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"prompts\.jsonl"):
        calibration_prompts(tmp_path / "prompts.jsonl")
