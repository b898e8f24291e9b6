"""From any sets of prompts to a teacher's sets: pooled, split by prompt group, refusals of ours where there are none."""

from __future__ import annotations

from typing import Any

import pytest

from reft_studio.data.dataset import Dataset, open_dataset, write_dataset
from reft_studio.data.splits import normalise_prompt
from reft_studio.errors import DataError
from reft_studio.evaluation.judges.refusal_phrases import is_refusal
from reft_studio.seeding import generator
from reft_studio.teacher.pool import Pool, PoolSpec, pool, pool_summary
from reft_studio.teacher.refusals import refusal
from reft_studio.workspace import Workspace


def prompts(workspace: Workspace, name: str, rows: list[Any]) -> Dataset:
    return write_dataset(workspace, rows, name=name, role="benchmark")


def plain(word: str, count: int, response: str = "") -> list[Any]:
    return [{"prompt": f"how do i {word} item {number}", "response": response} for number in range(count)]


def pooled(workspace: Workspace, harmful: list[Dataset], harmless: list[Dataset], **settings: Any) -> Pool:
    return pool(workspace, harmful, harmless, spec=PoolSpec(**settings), seed=3, is_refusal=is_refusal)


def rows(workspace: Workspace, found: Pool, name: str) -> list[dict[str, Any]]:
    return list(open_dataset(workspace, found.sets[name]).read())


def test_no_prompt_group_is_in_two_parts_and_the_shares_are_kept(workspace: Workspace) -> None:
    twice = [*plain("steal", 200), *[{"prompt": f"HOW do I  steal item {number}?", "response": ""} for number in range(100)]]
    found = pooled(workspace, [prompts(workspace, "a", twice)], [prompts(workspace, "b", plain("bake", 200, "Mix it."))])
    parts = [[normalise_prompt(row["prompt"]) for row in rows(workspace, found, name)] for name in found.sets]
    assert sum(len(part) for part in parts) == len({group for part in parts for group in part}) == 400
    assert found.facts["harmful"] == {"training": 140, "selection": 20, "calibration": 40}
    assert found.facts["files"]["harmful"][0] | {"fingerprint": ""} == {
        "name": "a", "fingerprint": "", "rows": 300, "other_label": 0, "repeated": 100, "new": 200
    }  # fmt: skip
    assert "200 harmful prompts: 140 training, 20 selection, 40 calibration." in pool_summary(found.facts)


def test_the_same_seed_gives_the_same_sets_and_another_does_not(workspace: Workspace) -> None:
    sets = [prompts(workspace, "a", plain("steal", 160))], [prompts(workspace, "b", plain("bake", 160))]
    assert pooled(workspace, *sets).sets == pooled(workspace, *sets).sets
    other = pool(workspace, *sets, spec=PoolSpec(), seed=4, is_refusal=is_refusal)
    assert other.sets["harmful"] != pooled(workspace, *sets).sets["harmful"]


def test_a_harmful_prompt_whose_answer_helps_gets_a_refusal_of_ours(workspace: Workspace) -> None:
    given = [*plain("steal", 80, "Sure, here is how."), *plain("rob", 80, "I'm sorry, but I can't help with that."), *plain("hit", 40)]
    found = pooled(workspace, [prompts(workspace, "a", given)], [prompts(workspace, "b", plain("bake", 160))])
    assert found.facts["refusals"] == {"file": 80, "ours": 120} and found.facts["answers"] == {"file": 0, "none": 160}
    answers = [row["response"] for row in rows(workspace, found, "harmful")]
    assert all(is_refusal(answer) for answer in answers)
    assert len(set(answers)) > 30, "many wordings, or a model learns one sentence by heart"


def test_every_refusal_of_ours_is_one() -> None:
    rng = generator(0, "refusals")
    assert all(is_refusal(refusal(rng)) for _ in range(500))


def test_an_answered_row_is_preferred_to_the_same_prompt_without_an_answer(workspace: Workspace) -> None:
    files = [prompts(workspace, "b", plain("bake", 160)), prompts(workspace, "c", plain("bake", 160, "Mix it."))]
    found = pooled(workspace, [prompts(workspace, "a", plain("steal", 160))], files)
    assert found.facts["answers"] == {"file": 160, "none": 0}


def test_rows_that_their_file_labels_as_the_other_kind_are_left_out(workspace: Workspace) -> None:
    mixed = [*plain("steal", 160), *[{**row, "known_harmful": False} for row in plain("bake", 50)]]
    found = pooled(workspace, [prompts(workspace, "a", mixed)], [prompts(workspace, "b", plain("bake", 160))])
    assert found.facts["files"]["harmful"][0]["other_label"] == 50 and sum(found.facts["harmful"].values()) == 160


def test_a_small_file_is_not_drowned_by_a_large_one(workspace: Workspace) -> None:
    files = [prompts(workspace, "large", plain("bake", 2000)), prompts(workspace, "small", plain("paint", 90))]
    found = pooled(workspace, [prompts(workspace, "a", plain("steal", 160))], files, rows=200)
    drawn = [row["origin"] for name in ("helpful", "selection_harmless", "calibration_harmless") for row in rows(workspace, found, name)]
    assert (drawn.count("small"), drawn.count("large")) == (90, 110)


@pytest.mark.parametrize(
    ("harmful", "harmless", "words"),
    [
        (plain("steal", 200), [], "only harmful prompts"),
        ([], plain("bake", 200), "only harmless prompts"),
        (
            plain("steal", 200),
            [{**row, "known_harmful": True} for row in plain("bake", 9)],
            "only harmful prompts.*All 9 rows given as harmless are labelled",
        ),
        (plain("steal", 149), plain("bake", 200), "149 different harmful prompts; at least 150"),
        (plain("steal", 200), [*plain("bake", 200), *plain("STEAL", 3)], "3 prompts are given both .* \\(in a, b\\)"),
    ],
)
def test_prompts_no_teacher_can_be_made_from_are_refused(workspace: Workspace, harmful: Any, harmless: Any, words: str) -> None:
    sets = [[prompts(workspace, name, rows)] if rows else [] for name, rows in (("a", harmful), ("b", harmless))]
    with pytest.raises(DataError, match=words):
        pooled(workspace, *sets)


def test_a_taught_category_trains_and_chooses_but_calibrates_nothing(workspace: Workspace) -> None:
    twins = [{**row, "category": "twin"} for row in plain("take", 100)]
    sets = [prompts(workspace, "a", [*plain("steal", 200), *twins])], [prompts(workspace, "b", plain("bake", 200))]
    whole, without = pooled(workspace, *sets), pooled(workspace, *sets, taught=("twin",))
    assert without.sets["harmful"] == whole.sets["harmful"], "what trains is the same"
    assert {row["category"] for row in rows(workspace, without, "harmful")} == {"twin", None}
    left = [row["prompt"] for row in rows(workspace, whole, "calibration_harmful") if row["category"] != "twin"]
    assert [row["prompt"] for row in rows(workspace, without, "calibration_harmful")] == left
    assert without.facts["harmful"]["calibration"] == len(left) < whole.facts["harmful"]["calibration"]
