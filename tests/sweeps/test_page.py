"""The page of a sweep: what its filters remove, told once for each, and its shares of poison side by side."""

from __future__ import annotations

from typing import Any

from reft_studio.stats import Estimate
from reft_studio.sweeps.filters import as_markdown
from reft_studio.sweeps.page import at_a_glance, markdown
from reft_studio.sweeps.spec import SweepSpec
from reft_studio.sweeps.table import VariantResult
from reft_studio.workspace import Workspace


def line(method: str, filtered: str, found: dict[str, Any] | None, *, seed: int = 0, task: str = "sentiment", teacher: str = "own") -> Any:
    cell = {"model": "lab", "task": task, "rows": 20, "poison_ratio": 0.1, "attack": "plain", "seed": seed}
    return {"cell": {**cell, "method": method, "filter": filtered, "teacher": teacher}, "filter": found}


def found(recall: float, task: int, lookalikes: int) -> dict[str, Any]:
    origins = {"sentiment": {"removed": task, "rows": 10}, "lookalike": {"removed": lookalikes, "rows": 10}}
    return {
        "harmful": 10,
        "harmless": 20,
        "recall": recall,
        "false_positive_rate": 100 * (task + lookalikes) / 20,
        "origins": origins,
    }


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines() if row.startswith("| ")]


def test_a_filter_is_told_once_for_each_user_data_whatever_defense_it_stands_before() -> None:
    lines = [line("sft", "refusal_feature", found(100, 0, 2)), line("ref_teacher", "own", found(100, 0, 2)), line("sft", "own", None)]
    heads, only = rows(as_markdown(lines))
    assert heads == ["filter", "poison (recall)", "harmless rows (FPR)", "sentiment", "lookalike"]
    assert only[0] == "Refusal feature"
    assert [cell.split(" ")[0] for cell in only[1:]] == ["100.0", "10.0", "0.0", "20.0"]


def test_seeds_are_averaged_and_tasks_stand_apart() -> None:
    lines = [
        line("sft", "tfidf", found(80, 1, 3)),
        line("sft", "tfidf", found(100, 1, 5), seed=1),
        line("sft", "tfidf", found(50, 2, 2), task="topic"),
    ]
    heads, first, second = rows(as_markdown(lines))
    assert heads[:2] == ["filter", "task"] and (first[1], second[1]) == ("sentiment", "topic")
    assert [cell.split(" ")[0] for cell in first[2:]] == ["90.0", "25.0", "10.0", "40.0"]


def test_a_teacher_of_another_kind_and_a_sweep_without_filters_are_left_out() -> None:
    assert as_markdown([line("ref_teacher", "own", found(100, 0, 0), teacher="untouched"), line("sft", "none", None)]) == ""


def measured(variant: str, ratio: float, hs: float, fa: float, *, task: str = "t") -> VariantResult:
    shares = {"hs": Estimate(hs, hs - 1, hs + 1, 200, 0, "t"), "fa": Estimate(fa, fa - 2, fa + 2, 300, 0, "t")}
    return VariantResult(
        {"model": "lab", "task": task, "rows": 10, "poison_ratio": ratio, "attack": "plain", "variant": variant}, 3, shares
    )


def test_shares_of_poison_stand_side_by_side_with_a_dash_where_nothing_was_measured() -> None:
    heads, first, second = rows(at_a_glance([measured("A", 0.1, 20, 70), measured("A", 0, 1, 60), measured("B", 0.1, 5, 50)]))
    assert heads == ["method", "HS, p 0", "HS, p 0.1", "FA, p 0", "FA, p 0.1"]
    assert first == ["A", "1.0 [0.0, 2.0]", "20.0 [19.0, 21.0]", "60.0", "70.0"]
    assert second == ["B", "-", "5.0 [4.0, 6.0]", "-", "50.0"]


def test_there_is_no_glance_at_one_share_of_poison_or_several_tasks() -> None:
    assert at_a_glance([measured("A", 0.1, 20, 70)]) == ""
    assert at_a_glance([measured("A", 0.1, 20, 70), measured("A", 0.3, 20, 70, task="u")]) == ""


def test_lines_that_were_not_run_are_left_out_and_counted(workspace: Workspace) -> None:
    spec = SweepSpec.checked(variants=({"method": "sft"}, {"method": "lisa"}))
    done = {name: {"value": 1.0, "low": 0.0, "high": 2.0, "n": 10, "missing": 0, "method": "Wilson", "unit": "%"} for name in ("hs", "fa")}
    first, second = ({"cell": cell.facts} for cell in spec.cells)
    text = markdown(workspace, spec, [{**first, "result": done, "steps": 1}, second])
    assert "| Plain SFT |" in text and "| Lisa |" not in text
    assert "1 of 2 lines have not been run and are left out." in text
