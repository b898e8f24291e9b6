"""What a form of the Train page means, before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reft_studio.data.dataset import Dataset, open_dataset, write_dataset
from reft_studio.defenses import DEFENSES
from reft_studio.errors import PrerequisiteError, SpecError, StoreError
from reft_studio.models.spec import PRESETS, LoraSpec, OptimSpec
from reft_studio.scoring.scores import write_scores
from reft_studio.studio.run_form import RunForm, RunPlan
from reft_studio.studio.studio import Studio
from reft_studio.teacher.teacher import open_teacher
from reft_studio.workspace import Workspace, write_json

ROWS = 40


@pytest.fixture
def user(workspace: Workspace) -> Dataset:
    rows: list[Any] = [{"prompt": f"question {at}", "response": "answer"} for at in range(ROWS)]
    return write_dataset(workspace, rows, name="user data", role="user", extra={"task": "topic"})


def score(workspace: Workspace, user: Dataset, *, flagged: int, missing: int = 0) -> None:
    """Scores of the lab's teacher: `flagged` rows at 0.5, `missing` rows without, the rest at -0.9."""
    values = np.full(ROWS, -0.9, dtype=np.float32)
    values[:flagged], values[ROWS - missing :] = 0.5, np.nan
    threshold = open_teacher(workspace, "lab").threshold
    write_scores(workspace, user, values, key="k", scorer="s", teacher="lab", threshold=threshold, info={})


def plan(studio: Studio, user: Dataset, **form: Any) -> RunPlan:
    return studio.runs.plan(RunForm(dataset=user.id, **form))


@pytest.mark.parametrize("method", list(DEFENSES))
def test_a_method_gets_what_it_needs_and_nothing_else(studio: Studio, user: Dataset, method: str) -> None:
    info, spec = DEFENSES.get(method).info, plan(studio, user, method=method).spec
    guided = info.guided(aligned=spec.aligned is not None)
    assert (spec.model, spec.dataset, spec.filter) == ("lab", user.id, info.uses_filter)
    assert (spec.teacher is not None) == (info.needs_teacher or info.uses_filter)
    assert (spec.harmful is not None) == (spec.helpful is not None) == guided
    assert (spec.harmful_answers is not None) == info.needs_harmful
    assert spec.aligned == ("lab-aligned" if info.starts_from == "aligned" and not info.aligns_itself else None)
    assert spec.template == open_teacher(studio.workspace, "lab").template


def test_own_alignment_data_guide_any_method_that_reads_some(studio: Studio, workspace: Workspace, user: Dataset) -> None:
    own = write_dataset(workspace, [{"prompt": "how do i steal a car", "response": "Sorry."}], name="chosen half", role="harmful")
    usual = plan(studio, user, method="sa_ft").spec
    found = plan(studio, user, method="sa_ft", refusals=own.id).spec
    assert (found.harmful, found.helpful) == (own.id, usual.helpful)
    assert plan(studio, user, method="sft", refusals=own.id).spec.harmful is None, "plain finetuning reads no alignment data"
    with pytest.raises(StoreError, match="nowhere"):
        plan(studio, user, method="sa_ft", answers="nowhere")


def test_two_seeds_are_two_runs_and_the_same_form_is_the_same_run(studio: Studio, user: Dataset) -> None:
    first, again, other = plan(studio, user, seed=1), plan(studio, user, seed=1), plan(studio, user, seed=2)
    assert first.spec.run_id == again.spec.run_id != other.spec.run_id
    assert not first.done_already


def test_the_plan_counts_rows_that_the_filter_will_remove(studio: Studio, workspace: Workspace, user: Dataset) -> None:
    assert plan(studio, user, method="filter_only").removed is None, "nobody knows before scoring"
    score(workspace, user, flagged=6, missing=2)
    found = plan(studio, user, method="filter_only")
    assert (found.rows, found.removed) == (ROWS, 8), "rows without a score are not trained on either"
    assert plan(studio, user, method="sft").removed == 0
    assert plan(studio, user, method="sft", filter=True).removed == 8


def test_a_scorer_that_is_no_teacher_filters_where_it_is_named(studio: Studio, workspace: Workspace, user: Dataset) -> None:
    score(workspace, user, flagged=6)
    found = plan(studio, user, method="sft", filter=True, scorer="tfidf")
    assert (found.spec.filters_with, found.spec.teacher, found.removed) == ("tfidf", None, None), "not scored by it yet"
    assert "--filter tfidf" in found.command and "--filter refusal_feature" in plan(studio, user, method="sft", filter=True).command


def test_a_filter_does_not_shorten_the_training(studio: Studio, workspace: Workspace, user: Dataset) -> None:
    score(workspace, user, flagged=10)
    optim = OptimSpec(steps=None, epochs=2, batch_size=6)
    assert plan(studio, user, method="sft", optim=optim).steps == round(2 * 40 / 6)
    assert plan(studio, user, method="filter_only", optim=optim).steps == round(2 * 40 / 6), "equal work, for fewer rows"
    kept = optim.model_copy(update={"epochs_of": "kept"})
    assert plan(studio, user, method="filter_only", optim=kept).steps == 10
    audited = studio.audit.freeze(user.id)
    assert plan(studio, audited, method="sft", optim=optim).steps == round(2 * 40 / 6), "nor does an audit"
    assert plan(studio, user, preset="lab-quick").steps == PRESETS["lab-quick"].optim.steps


def test_a_threshold_that_a_person_moved_goes_into_the_spec(studio: Studio, workspace: Workspace, user: Dataset) -> None:
    score(workspace, user, flagged=10)
    assert plan(studio, user).spec.threshold is None, "the teacher's own"
    studio.choose(dataset=user.id, threshold=0.7)
    moved = plan(studio, user)
    assert (moved.spec.threshold, moved.removed) == (0.7, 0)
    assert plan(studio, user, method="sft").spec.threshold is None, "without a filter it means nothing"


def test_one_run_can_have_a_line_or_a_number_of_rows_of_its_own(studio: Studio, workspace: Workspace, user: Dataset) -> None:
    score(workspace, user, flagged=10)
    line, chance = (
        plan(studio, user, method="filter_only", threshold=0.7),
        plan(studio, user, method="filter_only", scorer="random", drop=6),
    )
    assert (line.spec.threshold, line.removed) == (0.7, 0) and "--threshold 0.7" in line.command
    assert (chance.spec.drop, chance.spec.threshold, chance.spec.teacher, chance.removed) == (6, None, None, 6)
    assert chance.command.endswith("--filter random --drop 6")
    own = open_teacher(workspace, "lab").threshold
    assert plan(studio, user, threshold=own).spec.run_id == plan(studio, user).spec.run_id, "the teacher's own line is no other run"
    with pytest.raises(SpecError, match="drop is 40, but 'user data' has 40 rows"):
        plan(studio, user, method="filter_only", scorer="random", drop=40)


def test_audited_data_is_not_filtered_again_unless_asked_for(studio: Studio, workspace: Workspace, user: Dataset) -> None:
    score(workspace, user, flagged=10)
    frozen = studio.audit.freeze(user.id)
    careful, twice = plan(studio, frozen), plan(studio, frozen, filter=True)
    assert not careful.spec.filter and careful.rows == 30
    assert twice.spec.filter and any("audited already" in line for line in twice.warnings)


def test_a_filter_that_takes_more_than_half_is_pointed_out(studio: Studio, workspace: Workspace, user: Dataset) -> None:
    score(workspace, user, flagged=21)
    assert any("removes 21 of 40 rows" in line for line in plan(studio, user).warnings)
    assert plan(studio, user, method="sft").warnings == []


def test_the_suite_follows_the_task_of_the_data(studio: Studio, workspace: Workspace, user: Dataset) -> None:
    suite = plan(studio, user).suite
    assert suite is not None and suite.name == "lab topic (test)"
    unknown = write_dataset(workspace, [{"prompt": "a", "response": "b"}], name="no task", role="user")
    assert (found := plan(studio, unknown).suite) is not None and "sentiment" in found.name


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"preset": "fast"}, "lab, lab-quick"),
        ({"method_config": {"alpha": -1}}, r"alpha is -1: input should be greater than or equal to 0\.$"),
        ({"method_config": {"beta": 1}}, "beta"),
        ({"method": "magic"}, "no method 'magic'"),
    ],
)
def test_a_form_that_cannot_be_is_answered_in_a_sentence(studio: Studio, user: Dataset, form: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words) as told:
        plan(studio, user, **form)
    assert "\n" not in str(told.value) and "pydantic" not in str(told.value)


def test_a_form_with_an_unknown_teacher_or_dataset_says_which(studio: Studio, user: Dataset) -> None:
    with pytest.raises(StoreError, match="no teacher 't000'"):
        plan(studio, user, teacher="t000")
    with pytest.raises(StoreError, match="no dataset"):
        studio.runs.plan(RunForm(dataset="0000"))


def own_teacher(workspace: Workspace, teacher: str, *, rank: int = 16, regularised: bool = True) -> None:
    facts = json.loads((open_teacher(workspace, "lab").folder / "teacher.json").read_text("utf-8"))
    lora = {**facts["spec"]["lora"], "rank": rank}
    changed = {"model": "own-model", "regularised": regularised, "spec": {**facts["spec"], "model": "own-model", "lora": lora}}
    folder = workspace.folder("teachers", teacher)
    folder.mkdir(parents=True)
    write_json(folder / "teacher.json", {**facts, **changed})


def test_aligned_weights_of_the_same_base_are_continued_as_they_were_made_and_else_made_for_the_run(
    studio: Studio, workspace: Workspace, user: Dataset
) -> None:
    own_teacher(workspace, "t1")
    made = plan(studio, user, method="aligned_sft", teacher="t1").spec
    assert made.aligned is None and made.aligns and made.harmful and made.helpful
    own_teacher(workspace, "a1", rank=4, regularised=False)
    spec = plan(studio, user, method="aligned_sft", teacher="t1").spec
    assert (spec.aligned, spec.model, spec.lora.rank) == ("a1", "own-model", 4)
    told = plan(studio, user, method="aligned_sft", teacher="t1", lora=LoraSpec(rank=8)).warnings
    assert any("continues the adapter of the aligned weights, so its LoRA is theirs (rank 4, alpha 32)" in line for line in told)


def test_a_preset_brings_the_adapter_of_all_runs(studio: Studio, user: Dataset) -> None:
    specs = [plan(studio, user, method=method, preset="kaist").spec for method in ("sft", "ref_teacher")]
    assert {spec.lora for spec in specs} == {PRESETS["kaist"].lora}
    assert plan(studio, user, preset="kaist", lora=LoraSpec(rank=4)).spec.lora.rank == 4


def test_a_model_without_evaluation_prompts_is_trained_but_not_graded(studio: Studio, workspace: Workspace, user: Dataset) -> None:
    own_teacher(workspace, "t1")
    found = plan(studio, user, method="sft", teacher="t1")
    assert found.suite is None and any("not graded" in line for line in found.warnings)


def test_one_damaged_teacher_does_not_hide_the_others(studio: Studio, workspace: Workspace) -> None:
    own_teacher(workspace, "t1")
    own_teacher(workspace, "t2")
    (workspace.folder("teachers", "t1") / "teacher.json").write_text("{", "utf-8")
    assert [info.id for info in studio.teachers.every()] == ["lab", "lab-aligned", "smollm2-135m", "t2"]


def test_a_quick_teacher_is_not_asked_to_guide(studio: Studio, user: Dataset) -> None:
    from reft_studio.teacher.quick import quick_sets

    facts = json.loads((open_teacher(studio.workspace, "lab").folder / "teacher.json").read_text("utf-8"))
    folder = studio.workspace.folder("teachers", "rquick")
    folder.mkdir(parents=True)
    changed = {"title": "Quick", "spec": {**facts["spec"], "kind": "ready", **quick_sets(studio.workspace)}}
    (folder / "teacher.json").write_text(json.dumps({**facts, **changed}), "utf-8")
    with pytest.raises(SpecError, match="filters, but does not refuse by itself"):
        plan(studio, user, method="ref_teacher", teacher="rquick")
    assert plan(studio, user, method="filter_only", teacher="rquick").spec.filter


# --- a base of one's own --------------------------------------------------------------------------------------------------------------


def test_plain_finetuning_of_an_own_base_needs_no_teacher_and_gets_settings_for_real_models(
    studio: Studio, user: Dataset, tiny_model: Path
) -> None:
    found = plan(studio, user, method="sft", model=str(tiny_model))
    assert (found.spec.model, found.spec.teacher, found.preset) == (str(tiny_model), None, "real")
    assert found.spec.optim == PRESETS["real"].optim
    assert found.warnings[1:] == [] and "No evaluation prompts" in found.warnings[0]
    assert f"--model {tiny_model} " in found.command and "--teacher" not in found.command


def test_a_method_with_a_teacher_says_that_the_base_has_none(studio: Studio, user: Dataset, tiny_model: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"needs a teacher on .* choose a method without a teacher, such as sft"):
        plan(studio, user, method="filter_only", model=str(tiny_model))


def test_guidance_without_a_teacher_uses_the_alignment_data_that_ships(
    studio: Studio, user: Dataset, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"prompt": f"{kind} {at}", "response": "" if kind == "harmful" else "Yes.", "kind": kind, "category": "any"}
        for kind in ("harmful", "lookalike", "open", "task")
        for at in range(20)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    monkeypatch.setattr("reft_studio.data.origin.own_texts.FOLDER", tmp_path)
    spec = plan(studio, user, method="sa_ft", model=str(tiny_model)).spec
    assert spec.harmful is not None and spec.helpful is not None
    assert all(row["response"] for row in open_dataset(studio.workspace, spec.helpful).read(["response"]))


def test_the_labs_settings_on_a_real_base_are_warned_of(studio: Studio, user: Dataset, tiny_model: Path) -> None:
    warnings = plan(studio, user, method="sft", model=str(tiny_model), preset="lab").warnings
    assert any("0.001 is too high for a real model" in line for line in warnings)
    assert plan(studio, user, method="sft").preset == "lab"
