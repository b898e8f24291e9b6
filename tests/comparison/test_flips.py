from __future__ import annotations

import pytest

from reft_studio.comparison.flips import flips, paired
from reft_studio.comparison.seeds import over_seeds
from reft_studio.comparison.table import RunRow
from reft_studio.errors import EvaluationError
from reft_studio.evaluation.evaluate import cut
from reft_studio.evaluation.judges import judge_for
from reft_studio.evaluation.judges.human import key_of
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.labels import put, store
from reft_studio.evaluation.regrade import regrade
from reft_studio.evaluation.result import read_graded
from reft_studio.paired import holm, mcnemar
from reft_studio.workspace import Workspace
from tests.evaluated import Add


@pytest.fixture
def pair(add: Add) -> None:
    add("a", hs=30, over=0, fa=18, spec={"method": "sft", "seed": 0})
    add("b", hs=6, over=5, fa=17, spec={"method": "ref_teacher", "seed": 0})


@pytest.mark.usefixtures("pair")
def test_the_table_of_flips_counts_every_prompt_once(workspace: Workspace) -> None:
    found = flips(workspace, "a", "b")
    assert (found.both_safe, found.only_a, found.only_b, found.both_harmful, found.n) == (10, 24, 0, 6, 40)
    assert found.p_value == mcnemar(24, 0)
    assert [flip.row_id for flip in found.rows] == list(range(6, 30))
    assert {(flip.change, flip.verdict_a, flip.verdict_b) for flip in found.rows} == {("only_a", "comply", "refuse")}


@pytest.mark.usefixtures("pair")
def test_flips_of_other_sets_count_refusals_and_wrong_answers(workspace: Workspace) -> None:
    harmless, task = flips(workspace, "a", "b", "harmless"), flips(workspace, "a", "b", "task")
    assert (harmless.only_a, harmless.only_b) == (0, 5)
    assert (task.only_a, task.only_b, task.both_harmful) == (0, 1, 2)


@pytest.mark.usefixtures("pair")
def test_paired_differences_have_a_direction_and_a_correction(workspace: Workspace) -> None:
    found = {one.metric: one for one in paired(workspace, [("a", "b")])}
    assert found["hs"].difference.value == -60
    assert found["over_refusal"].difference.value == 25
    assert found["fa"].difference.value == -5
    raw = [one.p_value for one in found.values()]
    assert [one.adjusted for one in found.values()] == pytest.approx(holm(raw))
    assert found["hs"].better == "b"
    assert found["fa"].better is None


@pytest.mark.usefixtures("pair")
def test_a_sentence_claims_only_what_the_test_supports(workspace: Workspace) -> None:
    sentences = {one.metric: one.sentence({"a": "Plain", "b": "Guided"}) for one in paired(workspace, [("a", "b")])}
    assert sentences["hs"].startswith("Guided has lower harmful score than Plain: −60.0 points [")
    assert sentences["fa"].startswith("No clear difference in finetune accuracy between Plain and Guided")


@pytest.mark.usefixtures("pair")
def test_a_model_against_itself_is_no_clear_difference(workspace: Workspace) -> None:
    assert all(one.better is None and one.p_value == 1 for one in paired(workspace, [("a", "a")]))


def test_models_evaluated_in_different_ways_are_refused_with_the_reason(workspace: Workspace, add: Add) -> None:
    add("a", decoding={"template": "chat"})
    add("b", decoding={"template": "alpaca"}, judge="lab_compliance")
    with pytest.raises(EvaluationError, match="judge, decoding or template"):
        flips(workspace, "a", "b")


def test_differences_over_seeds_match_runs_by_seed(workspace: Workspace, rows: list[RunRow]) -> None:
    sft, ref = ([row for row in rows if row.method == name and row.poison_ratio == 0.1] for name in ("sft", "ref_teacher"))
    found = {one.metric: one for one in over_seeds(workspace, [(sft, ref)])}
    assert found["hs"].seeds == 2
    assert found["hs"].difference.value == pytest.approx(-100 * (32 + 30) / 2 / 40)
    assert "over" not in found["fa"].sentence or found["fa"].better is None
    assert found["fa"].sentence.startswith("No clear difference in finetune accuracy")


def test_one_shared_seed_gives_no_difference_over_seeds(workspace: Workspace, rows: list[RunRow]) -> None:
    sft, ref = (
        [row for row in rows if row.method == name and row.seed == 0 and row.poison_ratio == 0.1] for name in ("sft", "ref_teacher")
    )
    assert over_seeds(workspace, [(sft, ref)]) == []


@pytest.mark.usefixtures("pair")
def test_answers_without_a_verdict_of_the_judge_are_left_out_on_both_sides(workspace: Workspace) -> None:
    graded = read_graded(workspace, "a", set_name="harmful")[:8] + read_graded(workspace, "b", set_name="harmful")[2:6]
    labels = {key_of(row.prompt, cut(row.completion)): "harmful" if place < 8 else "refusal" for place, row in enumerate(graded)}
    put(workspace, dict(labels))
    spec = JudgeSpec(name="human", labels=str(store(workspace)))
    for subject in ("a", "b"):
        regrade(workspace, subject, judge_for(spec), spec=spec)
    known = [{row.row_id for row in read_graded(workspace, subject, set_name="harmful") if "human" in row.grades} for subject in ("a", "b")]
    shared = known[0] & known[1]
    assert shared and shared != known[0] | known[1]
    assert flips(workspace, "a", "b").n == len(shared)
    found = {one.metric: one.difference.n for one in paired(workspace, [("a", "b")])}
    assert (found["hs"], found["over_refusal"], found["fa"]) == (len(shared), 20, 20)


@pytest.mark.usefixtures("pair")
def test_models_whose_judged_answers_are_of_different_prompts_differ_in_the_other_numbers_only(workspace: Workspace) -> None:
    mine, other = read_graded(workspace, "a", set_name="harmful")[10], read_graded(workspace, "b", set_name="harmful")[11]
    put(workspace, {key_of(row.prompt, cut(row.completion)): "harmful" for row in (mine, other)})
    spec = JudgeSpec(name="human", labels=str(store(workspace)))
    results = [regrade(workspace, subject, judge_for(spec), spec=spec) for subject in ("a", "b")]
    assert [one.hs.n for one in results if one.hs] == [1, 1]
    assert flips(workspace, "a", "b").n == 0
    assert [one.metric for one in paired(workspace, [("a", "b")])] == ["over_refusal", "fa"]
