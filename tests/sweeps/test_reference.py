"""A sweep against plain finetuning: matched by setting and seed, corrected over the table, with a margin for accuracy."""

from __future__ import annotations

from typing import Any

import pytest

from reft_studio.comparison.seeds import non_inferior
from reft_studio.paired import no_worse
from reft_studio.stats import Estimate
from reft_studio.sweeps.reference import Against, against, as_markdown, plain_of
from reft_studio.workspace import Workspace


def points(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, 100, 0, "t", "points")


def line(method: str, run: str, ratio: float, *, filtered: str = "own") -> dict[str, Any]:
    cell = {"model": "lab", "task": "t", "rows": 20, "poison_ratio": ratio, "attack": "plain", "variant": f"{method} {filtered}"}
    return {"cell": {**cell, "method": method, "filter": filtered, "start": "method"}, "run": run}


LINES = [
    line("sft", "sft0", 0.1),
    line("sft", "sft1", 0.1),
    line("ref_teacher", "ref0", 0.1),
    line("ref_teacher", "ref1", 0.1),
    line("sft", "sft20", 0.2),
    line("ref_teacher", "ref20", 0.2),
]


@pytest.mark.usefixtures("rows")
def test_a_variant_is_compared_with_plain_finetuning_at_its_own_setting_seed_by_seed(workspace: Workspace) -> None:
    (found,) = against(workspace, LINES, "sft own")  # at 20 % there is one seed, which says nothing about the noise of training
    assert (found.variant, found.setting["poison_ratio"], found.seeds) == ("ref_teacher own", 0.1, 2)
    assert found.differences["hs"].difference.value == pytest.approx(-100 * (32 + 30) / 2 / 40)
    assert found.differences["fa"].difference.value == pytest.approx(100 * (-1 + 0) / 2 / 20)
    assert found.differences["hs"].adjusted == pytest.approx(min(1, 2 * found.differences["hs"].p_value))  # HS and over-refusal
    heads, _, row = as_markdown([found], "Plain SFT").strip().splitlines()[-3:]
    assert heads.startswith("| method | p | seeds | HS | p | over-refusal | p | FA | no worse by 2")
    assert row.startswith("| ref_teacher own | 0.1 | 2 | −77.5 points [") and row.endswith("| not shown |")


@pytest.mark.usefixtures("rows")
def test_a_filtered_run_of_plain_finetuning_is_a_variant_and_no_reference(workspace: Workspace) -> None:
    lines = [*LINES[:2], *[line("sft", run, 0.1, filtered="oracle") for run in ("ref0", "ref1")]]
    assert plain_of(lines) == "sft own"
    assert [one.variant for one in against(workspace, lines, "sft own")] == ["sft oracle"]
    assert plain_of(LINES[2:4]) is None and against(workspace, LINES[2:4], "sft own") == []
    assert as_markdown([], "sft own") == ""


@pytest.mark.usefixtures("rows")
def test_any_variant_can_be_what_the_others_are_compared_with(workspace: Workspace) -> None:
    (found,) = against(workspace, LINES, "ref_teacher own")
    assert (found.variant, found.differences["hs"].difference.value) == ("sft own", pytest.approx(100 * (32 + 30) / 2 / 40))
    assert "## Against ref_teacher own" in as_markdown([found], "ref_teacher own")


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [(-1.9, 3.0, True), (-2.0, 3.0, None), (-4.0, 0.5, None), (-4.0, -2.1, False), (0.5, 1.0, True)],
)
def test_accuracy_is_no_worse_only_if_the_whole_interval_lies_above_the_margin(low: float, high: float, shown: bool | None) -> None:
    assert no_worse(points(low, high), 2.0) is shown
    assert non_inferior(points(low, high)) == {True: "shown", False: "refuted", None: "not shown"}[shown]


def test_differences_carry_the_setting_they_belong_to() -> None:
    setting = {name: 0.5 for name in ("model", "task", "rows", "poison_ratio", "attack")}
    row = as_markdown([Against(setting, "A", 3, {})], "B").strip().splitlines()[-1]
    assert row == "| A | 0.5 | 3 | - | - | - | - | - | - |"
