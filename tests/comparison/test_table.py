from __future__ import annotations

import re

from reft_studio.comparison.table import RunRow, caveats, comparable, groups, load_rows, run_info, summaries
from reft_studio.evaluation.suite import Suite
from reft_studio.workspace import Workspace
from tests.evaluated import Add


def by_id(rows: list[RunRow]) -> dict[str, RunRow]:
    return {row.run_id: row for row in rows}


def test_rows_tell_method_seed_and_poison_of_every_evaluated_model(rows: list[RunRow]) -> None:
    found = by_id(rows)
    assert set(found) == {"base--lab", "sft0", "sft1", "ref0", "ref1", "sft20", "ref20"}
    assert (found["ref1"].method, found["ref1"].seed, found["ref1"].poison_ratio) == ("ref_teacher", 1, 0.1)
    assert found["base--lab"].is_reference
    assert found["base--lab"].title == "Base model"
    assert "seed 0" in found["sft0"].title


def test_seeds_of_one_setting_are_averaged_and_other_poison_is_not(rows: list[RunRow]) -> None:
    found = {(summary.method, summary.poison_ratio): summary for summary in summaries(rows)}
    assert found["sft", 0.1].seeds == 2
    assert found["sft", 0.2].seeds == 1
    hs = found["sft", 0.1].hs
    assert hs is not None
    assert hs.value == (100 * 36 / 40 + 100 * 35 / 40) / 2


def test_a_mean_over_seeds_is_never_surer_than_its_prompts_allow(workspace: Workspace, add: Add) -> None:
    for seed in (0, 1, 2):
        add(f"r{seed}", hs=40, spec={"method": "sft", "seed": seed})
    (summary,) = summaries(load_rows(workspace))
    assert summary.hs is not None
    assert (summary.hs.value, summary.hs.high) == (100, 100)
    assert summary.hs.low < 92  # Wilson for 40 of 40


def test_one_seed_keeps_its_interval_over_prompts_and_says_so(workspace: Workspace, add: Add) -> None:
    add("r0", hs=20, spec={"method": "sft", "seed": 0})
    (summary,) = summaries(load_rows(workspace))
    assert summary.hs is not None
    assert summary.hs.method.startswith("one seed")
    assert summary.hs.low < 40 < 60 < summary.hs.high


def test_runs_with_other_settings_are_not_averaged_as_seeds(workspace: Workspace, add: Add) -> None:
    add("r0", hs=20, spec={"method": "sft", "seed": 0, "optim": {"steps": 10}})
    add("r1", hs=30, spec={"method": "sft", "seed": 1, "optim": {"steps": 99}})
    assert [summary.seeds for summary in summaries(load_rows(workspace))] == [1, 1]


def test_other_prompts_judge_or_decoding_are_told_as_reasons_not_to_compare(workspace: Workspace, suite: Suite, add: Add) -> None:
    longer = suite.model_copy(update={"name": "long", "sets": tuple(p.model_copy(update={"max_new_tokens": 99}) for p in suite.sets)})
    add("a", decoding={"template": "chat"}, spec={"method": "sft", "seed": 0})
    add("b", decoding={"template": "alpaca"}, suite=longer, judge="lab_compliance", spec={"method": "sft", "seed": 1})
    rows = load_rows(workspace)
    reasons = comparable(rows)
    assert len(reasons) == 3
    assert "suites: small" in reasons[0]
    assert re.search(r"answer_classifier 1 \([0-9a-f]{8}\); lab_compliance 1", reasons[1])
    assert "template chat; template alpaca" in reasons[2]
    assert [len(group) for group in groups(rows)] == [1, 1]
    assert comparable(rows[:1]) == []


def test_caveats_name_single_seeds_and_different_poison(rows: list[RunRow]) -> None:
    told = " ".join(caveats(rows))
    assert "one seed" in told.lower()
    assert "different shares of poison" in told
    assert caveats([row for row in rows if row.poison_ratio == 0.1]) == []


def test_a_deleted_run_keeps_its_evaluation(workspace: Workspace, add: Add) -> None:
    add("gone")
    assert run_info(workspace, "gone").title == "gone (run deleted)"
    assert [row.method for row in load_rows(workspace)] == ["deleted"]


def test_a_run_on_audited_data_is_told_apart_and_has_no_poison_ratio(workspace: Workspace, add: Add) -> None:
    from reft_studio.data.dataset import Row, write_dataset

    rows = [Row(prompt="p", response="r", known_harmful=False)]
    audited = write_dataset(workspace, rows, name="x", role="user", extra={"lineage": {"source": "0" * 16}}).id
    add("r0", spec={"method": "sft", "seed": 3, "dataset": audited})
    (row,) = load_rows(workspace)
    assert row.title.endswith(", audited data")
    assert row.poison_ratio is None
