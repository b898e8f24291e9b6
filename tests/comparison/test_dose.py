"""HS and FA against the filter's line, beside as many rows removed by chance."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest

from reft_studio.comparison import charts, numbers
from reft_studio.comparison.dose import Dose, dose
from reft_studio.comparison.table import load_rows
from reft_studio.models.spec import OptimSpec
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace, write_json
from tests.evaluated import Add

ROWS, OWN = 20, 0.3
"""Rows of the data, and the teacher's calibrated line."""


@pytest.fixture
def data(user_data: Callable[[float, int], str]) -> str:
    return user_data(0.1, 0)


@pytest.fixture
def run(workspace: Workspace, add: Add, data: str) -> Callable[..., None]:
    """An evaluated run that lost `removed` rows and complies with `hs` of 40 prompts."""

    def make(name: str, *, hs: int, removed: int = 0, **spec: Any) -> None:
        whole = RunSpec(**{"dataset": data, "method": "filter_only" if removed else "sft", "optim": OptimSpec(steps=5), **spec})
        add(name, hs=hs, fa=18, spec=whole.model_dump(mode="json"))
        write_json(workspace.folder("runs", name) / "result.json", {"steps": 5, "kept": ROWS - removed, "removed": removed})

    return make


@pytest.fixture
def found(workspace: Workspace, run: Callable[..., None], data: str) -> Dose:
    """No filter, two lines of it, a control for each; beside them runs that do not belong on the curve."""
    run("none", hs=36)
    run("own", hs=20, removed=4, filter=True, teacher="lab")
    run("low", hs=10, removed=8, filter=True, teacher="lab", threshold=-0.5)
    run("chance4", hs=35, removed=4, filter=True, scorer="random", drop=4)
    run("chance8", hs=34, removed=8, filter=True, scorer="random", drop=8)
    run("words", hs=30, removed=4, filter=True, scorer="tfidf")
    run("decided", hs=2, removed=5, filter=True, teacher="lab", decisions="0" * 64)
    run("longer", hs=1, optim=OptimSpec(steps=9))
    run("guided", hs=0, removed=4, method="ref_teacher", filter=True, teacher="lab", harmful="h" * 16, helpful="g" * 16)
    return dose(load_rows(workspace), dataset=data, scorer="lab", threshold=OWN)


def test_each_line_stands_at_the_rows_it_removed_beside_the_control_of_the_same_size(found: Dose) -> None:
    points = [(one.kind, one.threshold, one.removed, one.share, one.mean.hs and one.mean.hs.value) for one in found.points]
    assert points == [
        ("none", None, 0, 0.0, 90.0),
        ("control", None, 4, 20.0, 87.5),
        ("filter", OWN, 4, 20.0, 50.0),
        ("control", None, 8, 40.0, 85.0),
        ("filter", -0.5, 8, 40.0, 25.0),
    ]
    assert (found.lines, found.left_out) == (2, 1), "other filters, decisions and methods are not meant; longer training is left out"


def test_seeds_of_one_line_are_one_point(workspace: Workspace, run: Callable[..., None], data: str) -> None:
    for seed in (0, 1):
        run(f"own{seed}", hs=20 + 2 * seed, removed=4, filter=True, teacher="lab", seed=seed)
    (point,) = dose(load_rows(workspace), dataset=data, scorer="lab", threshold=OWN).points
    assert (point.mean.seeds, point.mean.hs and point.mean.hs.value) == (2, 52.5)


def test_the_chart_and_its_table_hold_both_lines_from_the_runs_without_a_filter(found: Dose) -> None:
    figure = charts.dose_response(found, in_use=OWN, dark=True)
    lines = {trace.name: trace for trace in figure.data if trace.xaxis == "x"}
    assert list(lines["Filter"].x) == [0, 20, 40] and list(lines["Filter"].y) == [90, 50, 25]
    assert list(lines["As many rows, by chance"].y) == [90, 87.5, 85]
    assert lines["Filter"].marker.symbol != lines["As many rows, by chance"].marker.symbol
    assert any(note.text == "+0.30 (in use)" for note in figure.layout.annotations)
    assert "n = 40 harmful prompts" in figure.layout.title.subtitle.text
    rows = list(csv.DictReader(io.StringIO(numbers.as_csv(numbers.of_dose(found)))))
    assert [(row["kind"], row["threshold"], row["removed"], row["hs"], row["hs_n"]) for row in rows[:3]] == [
        ("none", "", "0", "90.0", "40"),
        ("control", "", "4", "87.5", "40"),
        ("filter", "0.3", "4", "50.0", "40"),
    ]


def test_without_a_filtered_run_the_chart_says_so(workspace: Workspace, run: Callable[..., None], data: str) -> None:
    run("none", hs=36)
    nothing = dose(load_rows(workspace), dataset=data, scorer="lab", threshold=OWN)
    assert nothing.lines == 0
    assert not charts.dose_response(nothing).data
