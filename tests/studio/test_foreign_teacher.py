"""Which teachers the Train page offers for a base that they are not on, what a plan says of them, and why another is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reft_studio.data.dataset import Dataset
from reft_studio.errors import SpecError
from reft_studio.studio.foreign_teacher import guides_of
from reft_studio.studio.plans import plan, sources
from reft_studio.studio.run_form import RunForm
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from tests.training.test_foreign import another_model, another_word, ready, rename


def test_a_teacher_of_the_same_tokens_is_offered_and_planned_and_another_is_refused(
    workspace: Workspace, toy_data: dict[str, Dataset], tiny_model: Path, tmp_path: Path
) -> None:
    other = ready(workspace, another_model(tmp_path / "other"), toy_data)
    strange = ready(workspace, rename(another_model(tmp_path / "strange"), another_word), toy_data)
    assert [one.id for one in guides_of(str(tiny_model), [other, strange])] == [other.id]
    assert guides_of(other.model, [other, strange]) == [], "a teacher on the base itself is none of these"
    assert guides_of(str(tmp_path / "nowhere"), [other]) == []
    offered = Studio(workspace).models.guides([other, strange])
    assert offered == [], "neither is on the other's tokens"
    asked = {"dataset": toy_data["user"].id, "model": str(tiny_model)}
    found = plan(workspace, RunForm(**asked, method="ref_teacher", teacher=other.id))
    assert (found.spec.model, found.spec.teacher, found.spec.template) == (str(tiny_model), other.id, "auto")
    assert (found.spec.harmful, found.spec.helpful) == (toy_data["harmful"].id, toy_data["helpful"].id)
    assert any("is another model" in text for text in found.warnings)
    assert f"--model {tiny_model}" in found.command and f"--teacher {other.id}" in found.command
    assert sources(workspace, found.spec) == {str(tiny_model), other.model}
    with pytest.raises(SpecError, match="vocabulary is not that of"):
        plan(workspace, RunForm(**asked, method="distill_only", teacher=strange.id))
    assert plan(workspace, RunForm(**asked, method="filter_only", teacher=strange.id)).spec.filter, "any teacher can filter"


def test_a_tokenizer_whose_files_do_not_tell_is_left_to_the_job(
    workspace: Workspace, toy_data: dict[str, Dataset], tiny_model: Path, tmp_path: Path
) -> None:
    other = ready(workspace, another_model(tmp_path / "other"), toy_data)
    path = Path(other.model) / "tokenizer.json"
    told = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**told, "model": {**told["model"], "vocab": None}}), "utf-8")
    assert guides_of(str(tiny_model), [other]) == []
    assert plan(
        workspace, RunForm(dataset=toy_data["user"].id, model=str(tiny_model), method="distill_only", teacher=other.id)
    ).spec.teacher
