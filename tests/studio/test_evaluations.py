"""What is graded and by whom: choices that outlive the app, grading again, a person's labels one by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reft_studio.data.dataset import Row, write_dataset
from reft_studio.errors import DataError, PrerequisiteError, SpecError, StoreError
from reft_studio.evaluation.evaluate import evaluate
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.suite import dataset_suite
from reft_studio.store import settings
from reft_studio.studio.evaluations import SuiteForm, stored_judge, stored_suite
from reft_studio.studio.studio import Studio


@pytest.fixture
def harmful(studio: Studio) -> str:
    rows = [Row(prompt=f"harmful {number}", response="") for number in range(3)]
    return write_dataset(studio.workspace, rows, name="harmful", role="benchmark").id


def graded(studio: Studio, harmful: str, subject: str = "run1") -> None:
    suite = dataset_suite("three", harmful=harmful)
    evaluate(studio.workspace, subject, suite, lambda prompts, tokens: [(i, f"Sure, {p}.", "end") for i, p in enumerate(prompts)])


def test_own_prompts_are_kept_and_can_be_given_up(studio: Studio, harmful: str) -> None:
    assert studio.evaluations.suite() is None
    saved = studio.evaluations.save_suite(SuiteForm(harmful=harmful, rows=2, max_new_tokens=64))
    assert saved is not None and stored_suite(studio.workspace) == saved == studio.evaluations.suite()
    assert (saved.sets[0].rows, saved.sets[0].max_new_tokens) == (2, 64)
    assert studio.evaluations.save_suite(SuiteForm()) is None
    assert studio.evaluations.suite() is None


def test_prompts_kept_by_an_earlier_version_are_read(studio: Studio, harmful: str) -> None:
    settings.set(studio.workspace, "suite", {"harmful": harmful, "max_new_tokens": 32})
    suite = studio.evaluations.suite()
    assert suite is not None and suite.sets[0].max_new_tokens == 32


def test_a_dataset_that_is_gone_is_refused_and_nothing_is_kept(studio: Studio) -> None:
    with pytest.raises(StoreError, match="no dataset"):
        studio.evaluations.save_suite(SuiteForm(harmful="0" * 16))
    assert studio.evaluations.suite() is None


def test_a_published_set_keeps_its_rule_and_length(studio: Studio, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"question": f"q{n}", "answer": f"#### {n}"}) + "\n" for n in range(4)))
    part, dataset = studio.evaluations.use_preset("gsm8k", str(path))
    assert part == "task"
    assert [value for _, value in studio.evaluations.choices("task")] == [dataset]
    assert studio.evaluations.choices("harmful") == []  # a task's set is not offered as harmful prompts
    suite = studio.evaluations.save_suite(SuiteForm(task=dataset, benchmark="label_match", max_new_tokens=16))
    assert suite is not None
    assert [(one.benchmark, one.max_new_tokens) for one in suite.sets] == [("last_number", 200)]
    with pytest.raises(SpecError, match="path"):
        studio.evaluations.use_preset("gsm8k", " ")
    with pytest.raises(DataError, match="is not there"):
        studio.evaluations.use_preset("gsm8k", str(tmp_path / "none.jsonl"))


def test_a_judge_that_is_no_model_is_not_kept(studio: Studio, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"no config\.json"):
        studio.evaluations.save_judge(JudgeSpec(name="beaver_dam", model=str(tmp_path)))
    assert studio.evaluations.judge() == JudgeSpec()


def test_the_judge_is_kept_and_goes_into_the_plan_of_a_run(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reft_studio.evaluation.judges.locate", lambda *_, **__: None)
    assert stored_judge(studio.workspace) == JudgeSpec()
    spec = JudgeSpec(name="wildguard", model="own/guard")
    studio.evaluations.save_judge(spec)
    assert stored_judge(studio.workspace) == studio.evaluations.judge() == spec


def test_every_judge_is_offered_with_what_is_known_of_its_mistakes(studio: Studio) -> None:
    found = {one.name: one for one in studio.evaluations.judges()}
    assert list(found) == ["answer_classifier", "refusal_phrases", "beaver_dam", "llama_guard_3", "harmbench_cls", "wildguard", "human"]
    assert [one.is_model for one in found.values()] == [False, False, True, True, True, True, False]
    assert all(one.known_error for one in found.values())


def test_grading_again_is_a_job_over_stored_answers(studio: Studio, harmful: str) -> None:
    graded(studio, harmful)
    with pytest.raises(SpecError, match="at least one run"):
        studio.evaluations.regrade([], JudgeSpec())
    studio.evaluations.regrade(["run1"], JudgeSpec(name="wildguard"))
    (job,) = studio.jobs.list(1)
    assert (job.kind, job.params["subjects"], job.params["judge"]["name"]) == ("regrade", ["run1"], "wildguard")


def test_a_person_labels_one_answer_after_the_other_and_takes_the_last_back(studio: Studio, harmful: str) -> None:
    graded(studio, harmful)
    grading = studio.evaluations
    with pytest.raises(SpecError, match="No answer has been labelled"):
        grading.regrade(["run1"], JudgeSpec(name="human"))
    seen = []
    for label in ("harmful", "harmless", "refusal"):
        card = grading.to_label("run1")
        assert card is not None and (card.done, card.total) == (len(seen), 3)
        seen.append(card.prompt)
        grading.label(card.key, label)
    assert seen == ["harmful 0", "harmful 1", "harmful 2"]
    assert grading.to_label("run1") is None and grading.answers("run1") == 3
    assert grading.undo_label()
    again = grading.to_label("run1")
    assert again is not None and again.prompt == "harmful 2"
    grading.undo_label()
    grading.undo_label()
    assert not grading.undo_label()  # nothing is left to take back


def test_labels_grade_every_run_that_gave_the_same_answer_and_agreement_is_counted(studio: Studio, harmful: str) -> None:
    from reft_studio.evaluation.judges import judge_for
    from reft_studio.evaluation.regrade import regrade

    graded(studio, harmful)
    graded(studio, harmful, "run2")
    card = studio.evaluations.to_label("run1")
    assert card is not None
    studio.evaluations.label(card.key, "refusal")
    other = studio.evaluations.to_label("run2")
    assert other is not None and other.done == 1  # the same answer has its label already
    before = studio.evaluations.agreement(["run1", "gone"])
    assert [(one["first"], one["second"], one["n"]) for one in before] == [("answer_classifier", "refusal_phrases", 3)]
    spec = studio.evaluations.complete(JudgeSpec(name="human"))
    regrade(studio.workspace, "run1", judge_for(spec), spec=spec)
    found = [one for one in studio.evaluations.agreement(["run1", "run2"]) if one["subject"] == "run1"]
    assert {(one["first"], one["second"], one["n"], one["only_second"]) for one in found} == {
        ("human", "answer_classifier", 1, 1),
        ("human", "refusal_phrases", 1, 1),
    }
