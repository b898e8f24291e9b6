from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from reft_studio.data.dataset import write_dataset
from reft_studio.errors import DataError, SpecError, StoreError
from reft_studio.evaluation.suite import Suite, dataset_suite, lab_suite, suite_from
from reft_studio.lab import sets
from reft_studio.workspace import Workspace


def test_the_lab_suite_has_three_sets_with_the_promised_sizes(workspace: Workspace) -> None:
    suite = lab_suite("topic", sizes={"harmful": 5, "harmless": 6, "task": 7})
    rows = suite.rows(workspace)
    assert {name: len(part) for name, part in rows.items()} == {"harmful": 5, "harmless": 6, "task": 7}
    assert suite.is_lab
    assert suite.compliance == "lab_compliance"


def test_validation_and_test_share_no_prompt(workspace: Workspace) -> None:
    prompts = [
        {row["prompt"] for part in lab_suite("arithmetic", split=split, sizes={"task": 50}).rows(workspace).values() for row in part}
        for split in ("validation", "test")
    ]
    assert not prompts[0] & prompts[1]


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match="sentiment"):
        lab_suite("poetry")


def test_the_fingerprint_is_of_what_is_asked_and_not_of_the_name(suite: Suite) -> None:
    renamed = suite.model_copy(update={"name": "other"})
    longer = suite.model_copy(update={"sets": tuple(part.model_copy(update={"max_new_tokens": 17}) for part in suite.sets)})
    assert renamed.fingerprint == suite.fingerprint != longer.fingerprint


def test_the_fingerprint_changes_with_the_prompts_of_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"harmful": 3, "harmless": 3, "task": 3}
    before = lab_suite("sentiment", sizes=sizes).fingerprint
    original = sets.benchmark
    monkeypatch.setattr(sets, "benchmark", lambda *args, **kw: [{**row, "prompt": row["prompt"] + "!"} for row in original(*args, **kw)])
    from reft_studio.evaluation import suite as module

    module._lab_fingerprint.cache_clear()
    assert lab_suite("sentiment", sizes=sizes).fingerprint != before
    module._lab_fingerprint.cache_clear()


def test_a_suite_survives_its_json(suite: Suite) -> None:
    assert suite_from(suite.model_dump(mode="json")) == suite


def test_a_suite_of_nothing_is_refused() -> None:
    with pytest.raises(SpecError, match="at least one dataset"):
        dataset_suite("empty")


def test_a_damaged_suite_names_the_field() -> None:
    with pytest.raises(SpecError, match="sets"):
        suite_from({"name": "x", "sets": []})


def test_an_unknown_rule_is_refused_when_the_suite_is_made() -> None:
    with pytest.raises((SpecError, ValidationError), match="label_match"):
        dataset_suite("x", task="0" * 16, benchmark="nonsense")


def test_a_dataset_that_is_gone_is_named(workspace: Workspace) -> None:
    with pytest.raises(StoreError, match="no dataset"):
        dataset_suite("x", harmful="0" * 16).rows(workspace)


def test_a_dataset_without_prompts_cannot_be_asked(workspace: Workspace) -> None:
    from reft_studio.data.dataset import Row, write_dataset

    empty = write_dataset(workspace, [Row(prompt="  ", response="x")], name="empty", role="benchmark")
    with pytest.raises(DataError, match="no prompt"):
        dataset_suite("x", harmful=empty.id).rows(workspace)


def test_only_the_first_rows_are_asked_where_a_number_is_given(workspace: Workspace, suite: Suite) -> None:
    shorter = dataset_suite("x", harmful=suite.sets[0].of, rows=2)
    assert [row["prompt"] for row in shorter.rows(workspace)["harmful"]] == ["harmful 0", "harmful 1"]


@pytest.mark.parametrize(("wrong", "told"), [({"rows": 0}, "rows is 0"), ({"max_new_tokens": 10**8}, "max_new_tokens is 100000000")])
def test_a_size_out_of_range_is_named(wrong: dict[str, int], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        dataset_suite("own", harmful="0123456789abcdef", **wrong)  # type: ignore[arg-type]  # one of two whole numbers


def test_a_task_without_right_answers_is_refused(workspace: Workspace) -> None:
    rows: list[Any] = [{"prompt": "two and two", "response": "4"}, {"prompt": "two and three", "response": " "}]
    dataset = write_dataset(workspace, rows, name="sums", role="benchmark")
    with pytest.raises(DataError, match="1 of 2 rows of 'sums' have no right answer"):
        dataset_suite("own", task=dataset.id).rows(workspace)
