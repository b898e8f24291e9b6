"""What the teacher forms ask for, and what the card says of a teacher."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from reft_studio.errors import PrerequisiteError, SpecError, StoreError
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.models.memory import Room
from reft_studio.models.spec import LoadSpec
from reft_studio.studio import memory
from reft_studio.studio.studio import Studio
from reft_studio.tasks.teacher import quick_teacher, teacher_map
from reft_studio.teacher.spec import LAB, REAL
from reft_studio.teacher.teacher import open_teacher
from reft_studio.workspace import Workspace
from ui.filter.teacher_card import card_value
from ui.filter.teacher_panel import TeacherPanel, draw_teacher, queued, wanted


@pytest.fixture
def panel() -> TeacherPanel:
    with gr.Blocks():
        return draw_teacher()


def typed(panel: TeacherPanel, **changes: Any) -> list[Any]:
    values = {name: part.value for name, part in panel.fields.inputs.items()}
    return list({**values, **changes}.values())


def test_several_sets_are_pooled_and_none_of_them_stands_in_the_spec(panel: TeacherPanel) -> None:
    spec, pool = wanted(panel.fields, typed(panel), [["h1", "h2"], ["s1"], None, None])
    assert pool == {"harmful": ["h1", "h2"], "harmless": ["s1"]} and spec.optim == LAB
    params = spec.params(pool=pool)
    assert params["pool"] == pool and not {"harmful", "helpful", "calibration_harmful"} & params.keys()


def test_held_out_sets_of_ones_own_are_taken_as_they_are(panel: TeacherPanel) -> None:
    spec, pool = wanted(panel.fields, typed(panel, model="some/model", sweep="0.1, 1"), [["h"], ["s"], "ch", "cs"])
    assert pool is None and (spec.harmful, spec.helpful, spec.calibration_harmful, spec.calibration_harmless) == ("h", "s", "ch", "cs")
    assert spec.sweep == (0.1, 1.0) and spec.optim == REAL


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ([[], ["s"], None, None], "at least one set of harmful"),
        ([["h"], ["s"], "ch", None], "both kinds"),
        ([["h", "h2"], ["s"], "ch", "cs"], "one harmful and one harmless"),
    ],
)
def test_what_is_missing_is_said_before_a_job_is_queued(panel: TeacherPanel, sets: list[Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        wanted(panel.fields, typed(panel), sets)


def test_a_queued_teacher_says_what_its_model_takes(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_room", lambda *_: Room("cuda:0", 100e9, 141e9))
    studio = Studio(workspace)
    told = queued(studio, "lab", LoadSpec())
    assert told == "The model takes about 8 MB of 141.0 GB on cuda:0. It can be chosen above once it is done."
    with pytest.raises(PrerequisiteError, match="offline mode"):
        queued(studio, "someone/some-model", LoadSpec())
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert queued(studio, "someone/some-model", LoadSpec()) == "It can be chosen above once it is done."
    studio.teachers.quick("lab", loading=LoadSpec(dtype="bfloat16"), template="Q: {prompt}")
    params = studio.jobs.get(studio.jobs.list()[0].id).params
    assert params["loading"]["dtype"] == "bfloat16" and params["template"] == "Q: {prompt}"


def test_the_card_marks_the_chosen_layer_among_all_that_were_tried(tmp_path: Any) -> None:
    studio = Studio(Workspace.open(tmp_path / "workspace"))
    card = json.loads(card_value(studio, "lab"))
    assert [layer for layer, _ in card["layers"]] == [1, 2, 3] and card["layer"] == 2
    assert ["Recall", "98.3 % of 300 held-out harmful prompts"] in card["facts"] and card["sweep"] == []
    assert "guides finetuning" in card["title"]
    assert card_value(studio, "gone") == ""


def test_the_card_of_a_ready_teacher_promises_no_guidance(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    studio = Studio(Workspace.open(tmp_path / "workspace"))
    lab = open_teacher(studio.workspace, "lab")
    record = {
        "regularisation": None,
        "reading": "centred",
        "sweep": [],
        "step": None,
        "loaded": {"dtype": "float32", "quantization": "none"},
    }
    ready = type(lab)(**{**vars(lab), "spec": {**lab.spec, "kind": "ready"}, "record": record})
    monkeypatch.setattr(studio.teachers, "every", lambda: [ready])
    card = json.loads(card_value(studio, "lab"))
    assert "only one made from prompts with answers can guide" in card["title"]
    assert ["Layer", "block 2"] in card["facts"] and ["Reading", "centred"] in card["facts"] and ["Loaded as", "float32"] in card["facts"]
    assert not any(name in ("Regulariser", "Training") for name, _ in card["facts"])


def test_the_other_token_positions_are_offered_until_they_are_drawn(workspace: Workspace, tiny_model: Path) -> None:
    studio = Studio(workspace)
    made = quick_teacher(ForegroundContext(workspace), {"model": str(tiny_model)})["teacher"]
    before = json.loads(card_value(studio, made))
    assert (before["map"]["positions"], before["map_offer"]) == ([-1], made)
    queued_id = studio.teachers.draw_map(made)
    assert studio.teachers.draw_map(made) == queued_id, "asked for twice, it is drawn once"
    job = studio.jobs.get(queued_id)
    teacher_map(ForegroundContext(workspace), job.params)
    after = json.loads(card_value(studio, made))
    assert (after["map"]["positions"], after["map_offer"]) == ([-1 - place for place in range(10)], None)
    assert [line[0] for line in after["map"]["auroc"]] == [line[0] for line in before["map"]["auroc"]]


def test_no_map_is_offered_where_the_prompts_of_the_teacher_are_not_here(workspace: Workspace, tiny_model: Path) -> None:
    studio = Studio(workspace)
    made = quick_teacher(ForegroundContext(workspace), {"model": str(tiny_model)})["teacher"]
    shutil.rmtree(workspace.folder("datasets", open_teacher(workspace, made).spec["harmful"]))
    card = json.loads(card_value(studio, made))
    assert card["map"]["positions"] == [-1] and card["map_offer"] is None
    with pytest.raises(StoreError, match="not in this workspace"):
        studio.teachers.draw_map(made)
