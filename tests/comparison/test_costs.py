"""Costs of runs side by side: what each counted itself, a plain run to hold it against, and why there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reft_studio.comparison.charts import cost_bars
from reft_studio.comparison.costs import RunCost, cost_reasons, costs_of
from reft_studio.comparison.numbers import as_csv, of_costs
from reft_studio.report import ReportInput, build_report
from reft_studio.workspace import Workspace, write_json
from tests.ui.finished_runs import answer_like, give_costs, write_run


@pytest.fixture
def runs(workspace: Workspace) -> dict[str, str]:
    """Plain finetuning and Ref-Teacher on the same data and steps, each with a ledger."""
    found = {"sft": write_run(workspace, "sft", at=1), "ref_teacher": write_run(workspace, "ref_teacher", at=2)}
    give_costs(workspace, found["sft"], train=5.0, peak=550, user_tokens=2_000)
    give_costs(workspace, found["ref_teacher"], train=12.0, peak=700)
    return found


def one(workspace: Workspace, run: str) -> RunCost:
    (found,) = costs_of(workspace, [run])
    return found


def test_models_that_are_no_run_and_runs_that_are_gone_have_no_costs(workspace: Workspace, runs: dict[str, str]) -> None:
    found = costs_of(workspace, ["base--lab", runs["ref_teacher"], "r000000000000", runs["sft"]])
    assert [cost.run for cost in found] == [runs["ref_teacher"], runs["sft"]]


def test_what_a_run_did_beside_plain_finetuning_is_counted_by_itself_and_timed_beside_a_plain_run(
    workspace: Workspace, runs: dict[str, str]
) -> None:
    cost = one(workspace, runs["ref_teacher"])
    assert (cost.extra.tokens, cost.extra.flops) == (2.0, pytest.approx(2.0))
    assert cost.timed is not None and cost.timed.run == runs["sft"] and cost.withheld == ""
    assert cost.timed.ratio == pytest.approx((12 + 1 + 3) / (5 + 1 + 3)), (
        "filter and teacher count as the method's own work, loading does not"
    )
    assert cost.timed.words == "1.78 × the time of 'Plain SFT' (16.0 s against 9.0 s), 150 MB more memory at most"


def test_plain_finetuning_is_held_against_nothing(workspace: Workspace, runs: dict[str, str]) -> None:
    cost = one(workspace, runs["sft"])
    assert cost.timed is None and cost.withheld == "it is plain finetuning itself" and cost_reasons([cost]) == []


def test_of_several_plain_runs_the_one_of_the_same_seed_counts(workspace: Workspace, runs: dict[str, str]) -> None:
    other = write_run(workspace, "sft", seed=7, at=9)
    give_costs(workspace, other, train=50.0)
    cost = one(workspace, runs["ref_teacher"])
    assert cost.timed is not None and cost.timed.run == runs["sft"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("device", "'Plain SFT' was on NVIDIA L4, this one on CPU"),
        ("no ledger", "'Plain SFT' kept no ledger"),
        ("other steps", "no plain SFT run has the same data, base, steps and settings"),
    ],
)
def test_a_time_that_cannot_be_held_against_another_is_withheld_with_the_reason(workspace: Workspace, change: str, told: str) -> None:
    guided = write_run(workspace, "ref_teacher")
    plain = write_run(workspace, "sft", steps=80 if change == "other steps" else 40)
    give_costs(workspace, guided)
    if change != "no ledger":
        give_costs(workspace, plain, device="NVIDIA L4" if change == "device" else "CPU")
    cost = one(workspace, guided)
    assert cost.timed is None and told in cost.withheld
    assert any(told in sentence and "Ref-Teacher" in sentence for sentence in cost_reasons([cost]))


def test_runs_of_earlier_versions_are_named_with_what_is_not_known_of_them(workspace: Workspace, runs: dict[str, str]) -> None:
    path = workspace.folder("runs", runs["ref_teacher"]) / "cost.json"
    older = json.loads(path.read_text("utf-8"))
    del older["user_tokens"]
    write_json(path, older)
    (workspace.folder("runs", runs["sft"]) / "cost.json").unlink()
    told = " ".join(cost_reasons(costs_of(workspace, list(runs.values()))))
    assert "No costs are known of Plain SFT: it was made by a version that kept no ledger." in told
    assert "withheld for Ref-Teacher: its ledger was written by a version that did not tell user rows from others." in told


def test_the_evaluation_is_a_part_of_what_a_run_cost(workspace: Workspace, runs: dict[str, str]) -> None:
    before = one(workspace, runs["sft"])
    answer_like(workspace, runs["sft"], "sft")
    after = one(workspace, runs["sft"])
    assert before.seconds("Evaluate") == 0 < after.seconds("Evaluate") and after.peak("Evaluate") is None
    assert before.ledger is not None and after.ledger is not None and after.ledger.seconds > before.ledger.seconds


def test_the_chart_has_a_bar_for_each_stage_and_run_and_a_mark_for_each_peak(workspace: Workspace, runs: dict[str, str]) -> None:
    figure = cost_bars(costs_of(workspace, list(runs.values())))
    bars = {trace.name: list(trace.x) for trace in figure.data if trace.type == "bar"}
    assert bars == {"Load": [2, 2], "Filter and prepare": [1, 1], "Train": [5, 12], "Answers to learn from": [3, 3]}
    peaks = {trace.name: list(trace.x) for trace in figure.data if trace.type == "scatter"}
    assert peaks == {"Load": [500, 500], "Filter and prepare": [520, 520], "Train": [550, 700], "Answers to learn from": []}
    assert "Time (seconds)" in figure.layout.xaxis.title.text and "of the whole process" in figure.layout.title.subtitle.text


def test_long_runs_are_drawn_in_minutes_and_names_are_no_markup(workspace: Workspace, runs: dict[str, str]) -> None:
    give_costs(workspace, runs["sft"], train=600.0, device="NVIDIA L4")
    odd = replace(one(workspace, runs["sft"]), title="<b>x</b>")
    figure = cost_bars([odd])
    assert "Time (minutes)" in figure.layout.xaxis.title.text and "GPU" in figure.layout.title.subtitle.text
    train = next(trace for trace in figure.data if trace.name == "Train")
    assert list(train.x) == [10] and list(train.y) == ["&lt;b&gt;x&lt;/b&gt;"]


def test_without_any_ledger_the_chart_says_so(workspace: Workspace) -> None:
    figure = cost_bars(costs_of(workspace, [write_run(workspace, "sft")]))
    assert "No run here kept a ledger" in figure.layout.annotations[0].text


def test_the_numbers_behind_the_chart_have_every_stage_and_the_sums(workspace: Workspace, runs: dict[str, str]) -> None:
    numbers = of_costs(costs_of(workspace, list(runs.values())))
    assert [row["what"] for row in numbers if row["runs"] == runs["sft"]] == ["load", "filter", "train", "teacher states", "all"]
    total = next(row for row in numbers if row["runs"] == runs["ref_teacher"] and row["what"] == "all")
    assert total["seconds"] == 18 and total["memory_mb"] == 700 and total["passes_backward"] == 40 and total["flops"] == 6 * 10**12
    assert total["times_plain_by_tokens"] == 2.0 and total["times_plain_by_clock"] == pytest.approx(16 / 9)
    assert as_csv(numbers).startswith("title,runs,device,what,seconds,memory_mb")


def test_the_report_has_the_costs_in_its_page_and_in_its_twin(workspace: Workspace, runs: dict[str, str]) -> None:
    for method, run in runs.items():
        answer_like(workspace, run, method)
    path = build_report(workspace, ReportInput(), workspace.folder("reports"))
    text, value = path.read_text("utf-8"), json.loads(path.with_suffix(".json").read_text("utf-8"))
    found: dict[str, Any] = {line["title"]: line for line in value["costs"]["runs"]}
    assert found["Ref-Teacher"]["extra"]["flops"] == pytest.approx(2.0) and found["Ref-Teacher"]["timed"]["ratio"] == pytest.approx(16 / 9)
    assert found["Plain SFT"]["timed"] is None and found["Plain SFT"]["withheld"]
    assert [stage["name"] for stage in found["Plain SFT"]["stages"]][-2:] == ["answer", "grade"]
    assert "1.78 ×" in text and 'data-figure="costs"' in text and "What the runs cost" in text


def test_a_report_without_the_section_of_runs_has_no_costs(workspace: Workspace, runs: dict[str, str], tmp_path: Path) -> None:
    for method, run in runs.items():
        answer_like(workspace, run, method)
    path = build_report(workspace, ReportInput(sections=("comparison", "limits")), tmp_path / "some.html")
    assert "costs" not in json.loads(path.with_suffix(".json").read_text("utf-8")) and 'data-figure="costs"' not in path.read_text("utf-8")
