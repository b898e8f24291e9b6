"""Costs in tables and sentences, with words that are right for the device."""

from __future__ import annotations

from typing import Any

import pytest

from reft_studio.comparison.costs import RunCost, costs_of
from reft_studio.workspace import Workspace
from tests.ui.finished_runs import give_costs, write_run
from ui.shared import cost_view


def costs(workspace: Workspace, **changes: Any) -> list[RunCost]:
    runs = [write_run(workspace, "sft"), write_run(workspace, "ref_teacher")]
    give_costs(workspace, runs[0], train=5.0, user_tokens=2_000)
    give_costs(workspace, runs[1], **changes)
    return costs_of(workspace, runs)


def test_runs_stand_side_by_side_with_what_they_did_beside_plain_finetuning_first(workspace: Workspace) -> None:
    plain, guided = cost_view.side_by_side(costs(workspace, passes={"teacher": 30, "forward": 40, "backward": 42}))["rows"]
    assert (plain["counted"], plain["timed"]) == ("1.00 ×", "") and plain["passes"] == "1 + 1 + 0"
    assert guided["counted"] == "2.00 ×" and guided["timed"] == "1.56 ×" and guided["passes"] == "1 + 1.05 + 0.75"
    assert (guided["all"], guided["training"], guided["memory"], guided["flops"]) == ("16 s", "14 s", "600 MB", "6")


def test_the_stages_of_a_run_are_listed_and_those_that_did_nothing_are_not(workspace: Workspace) -> None:
    guided = costs(workspace)[1]
    rows = cost_view.stages(guided.ledger)["rows"]
    assert [(row["stage"], row["time"], row["memory"]) for row in rows] == [
        ("Load the model", "2.0 s", "500 MB"),
        ("Score for the filter", "1.0 s", "520 MB"),
        ("Train", "10 s", "600 MB"),
        ("Teacher's answers", "3.0 s", "–"),
    ]
    assert cost_view.stages(None)["rows"] == []


@pytest.mark.parametrize(("device", "peak"), [("CPU", "peak memory of the process"), ("NVIDIA L4", "peak GPU memory")])
def test_peak_memory_is_called_what_it_is_on_the_device(workspace: Workspace, device: str, peak: str) -> None:
    guided = costs(workspace, device=device)[1]
    kpis = cost_view.figures(guided)["kpis"]
    assert kpis[0]["label"] == f"in all, on {device}" and kpis[1]["label"] == peak
    assert [kpi["value"] for kpi in kpis] == ["16 s", "600 MB", "6 TFLOP", "2.00 ×"]


def test_sentences_say_the_clock_the_passes_and_what_is_withheld(workspace: Workspace) -> None:
    on_cpu = " ".join(note["text"] for note in cost_view.sentences(costs(workspace)[1]))
    assert "By the clock: 1.56 × the time of 'Plain SFT' (14.0 s against 9.0 s)" in on_cpu
    assert "Passes in a step: 1 forward and 1 back of the student." in on_cpu
    on_gpu = " ".join(note["text"] for note in cost_view.sentences(costs(workspace, device="NVIDIA L4")[1]))
    assert "By the clock" not in on_gpu and "'Plain SFT' was on CPU, this one on NVIDIA L4" in on_gpu


def test_a_run_without_a_ledger_has_no_figures_and_says_why(workspace: Workspace) -> None:
    (cost,) = costs_of(workspace, [write_run(workspace, "sft", steps=80)])
    assert cost_view.figures(cost) == {} and "kept no ledger" in cost_view.sentences(cost)[0]["text"]
