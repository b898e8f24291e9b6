from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import plotly.graph_objects as go
import pytest

from reft_studio.comparison import charts
from reft_studio.comparison.charts.style import DARK, LABEL, LIGHT, label
from reft_studio.comparison.charts.training import smoothed
from reft_studio.comparison.flips import flips, paired
from reft_studio.comparison.table import RunRow, load_rows
from reft_studio.stats import curves
from reft_studio.workspace import Workspace
from tests.evaluated import Add

HOSTILE = "<script>alert(1)</script><b>\u202eevil\x00"
LOG = [
    {"step": i, "steps": 9, "loss": 2 / i, "task": 1 / i, "alignment": 1 / i, "lr": 0.01, "grad_norm": 1.0, "grad_cosine": -0.1}
    for i in range(1, 10)
]


def separated() -> tuple[list[float], list[bool]]:
    return [i / 100 for i in range(100)], [i > 45 for i in range(100)]


@pytest.fixture
def every(workspace: Workspace, rows: list[RunRow]) -> dict[str, Callable[[bool], go.Figure]]:
    titles = {row.run_id: row.title for row in rows}
    pair = paired(workspace, [("sft0", "ref0"), ("sft1", "ref1")])
    flipped = flips(workspace, "sft0", "ref0")
    curve = curves(*separated())
    return {
        "trade_off": lambda dark: charts.trade_off(rows, dark=dark),
        "sweep": lambda dark: charts.sweep(rows, dark=dark),
        "training": lambda dark: charts.training_curves({"a": LOG, "b": LOG}, methods={"a": "sft", "b": "sft"}, dark=dark),
        "verdicts": lambda dark: charts.verdict_bars(rows, dark=dark),
        "forest": lambda dark: charts.forest(pair, titles, dark=dark),
        "flips": lambda dark: charts.flip_table(flipped, titles, dark=dark),
        "categories": lambda dark: charts.category_dots(rows, dark=dark),
        "roc": lambda dark: charts.roc_pr(curve, threshold=0.5, dark=dark),
        "histogram": lambda dark: charts.histogram([0, 0.5, 1], harmful=[1, 2], harmless=[3, 0], threshold=0.5, dark=dark),
    }


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for part in value.values():
            yield from numbers(part)
    elif isinstance(value, list):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, float):
        yield value


def test_every_chart_has_n_under_its_title_and_works_light_and_dark(every: dict[str, Callable[[bool], go.Figure]]) -> None:
    assert len(every) == 9
    for name, draw in every.items():
        light, dark = draw(False), draw(True)
        told = light.layout.title.subtitle.text + " ".join(note.text for note in light.layout.annotations)
        assert "n = " in told or "n in brackets" in told, name
        assert [figure.layout.template.layout.paper_bgcolor for figure in (light, dark)] == [LIGHT.card, DARK.card], name
        for figure in (light, dark):
            value = json.loads(figure.to_json())
            assert all(math.isfinite(number) for number in numbers(value)), name
            assert figure.layout.height > 150, name


def test_interval_ends_are_drawn_as_they_are(every: dict[str, Callable[[bool], go.Figure]]) -> None:
    for name, draw in every.items():
        for trace in draw(False).data:
            for bar in (trace.error_x, trace.error_y) if trace.type == "scatter" else ():
                assert all(end >= -1e-9 for end in (*(bar.array or ()), *(bar.arrayminus or ()))), name


def test_the_trade_off_draws_each_method_at_its_mean_and_over_refusal_beside_it(rows: list[RunRow]) -> None:
    figure = charts.trade_off([row for row in rows if row.poison_ratio in (None, 0.1)])
    marks = [trace for trace in figure.data if trace.name == "Plain SFT, on 0.1 0" and len(trace.x) == 1]
    assert [(trace.x[0], trace.y[0]) for trace in marks] == [(90, 88.75), (0, 88.75)]
    dots = [trace for trace in figure.data if trace.text is not None and "sft0" in str(trace.text)]
    assert all(len(trace.x) == 2 for trace in dots)


def test_what_cannot_be_told_apart_is_said_under_the_chart(workspace: Workspace, add: Add) -> None:
    add("a", hs=20, fa=15, spec={"method": "sft", "seed": 0})
    add("b", hs=21, fa=15, spec={"method": "ref_teacher", "seed": 0})
    notes = [note.text for note in charts.trade_off(load_rows(workspace)).layout.annotations]
    assert any("Not separable" in note and "Plain SFT and Ref-Teacher" in note for note in notes)


def test_a_missing_poison_ratio_is_a_gap_and_not_a_line(workspace: Workspace, add: Add, user_data: Callable[[float, int], str]) -> None:
    for ratio in (0.0, 0.1, 0.2):
        add(f"ref{ratio}", hs=5, spec={"method": "ref_teacher", "seed": 0, "dataset": user_data(ratio, 0)})
        if ratio != 0.1:
            add(f"sft{ratio}", hs=30, spec={"method": "sft", "seed": 0, "dataset": user_data(ratio, 0)})
    line = next(trace for trace in charts.sweep(load_rows(workspace)).data if trace.name == "Plain SFT" and trace.mode == "lines+markers")
    assert line.y == (75, None, 75)
    assert line.connectgaps is False


def test_verdict_shares_add_up_to_all_prompts(rows: list[RunRow]) -> None:
    figure = charts.verdict_bars(rows)
    for axis in ("x", "x2"):
        traces = [trace for trace in figure.data if (trace.xaxis or "x") == axis]
        assert [sum(shares) for shares in zip(*(trace.x for trace in traces), strict=True)] == pytest.approx([100] * len(rows))


def test_text_of_unknown_origin_is_never_markup(rows: list[RunRow]) -> None:
    from dataclasses import replace

    hostile = [replace(row, title=HOSTILE, run_id=HOSTILE, method=HOSTILE, judge=HOSTILE) for row in rows]
    hostile = [replace(row, by_category={HOSTILE: row.by_category["fraud"]}) for row in hostile]
    for figure in (
        charts.trade_off(hostile),
        charts.verdict_bars(hostile),
        charts.category_dots(hostile),
        charts.training_curves({HOSTILE: LOG, "b": LOG}),
    ):
        text = json.dumps(json.loads(figure.to_json()))
        assert "<script" not in text.lower()
        assert "\\u202e" not in text


def test_labels_are_cut_escaped_and_cleaned() -> None:
    assert label("<b>a</b>") == "&lt;b&gt;a&lt;/b&gt;"
    assert label("a\u202eb\x07c\n d") == "abc d"
    assert len(label("x" * 500)) == LABEL


@pytest.mark.parametrize(
    "figure",
    [
        lambda: charts.trade_off([]),
        lambda: charts.sweep([]),
        lambda: charts.training_curves({}),
        lambda: charts.training_curves({"a": []}),
        lambda: charts.verdict_bars([]),
        lambda: charts.forest([], {}),
        lambda: charts.category_dots([]),
        lambda: charts.histogram([0, 1], harmful=[0], harmless=[0]),
        lambda: charts.roc_pr(curves([0.1, 0.2], [True, False])),
    ],
)
def test_an_empty_chart_says_why_it_is_empty(figure: Callable[[], go.Figure]) -> None:
    drawn = figure()
    assert not drawn.data
    assert len(drawn.layout.annotations[0].text) > 20


def test_every_method_has_its_own_colour_and_shape() -> None:
    from reft_studio.defenses import DEFENSES

    marks = [charts.mark(name, dark=False) for name in ("base", "aligned", "teacher", *DEFENSES)]
    assert len({mark.symbol for mark in marks}) == len(marks)
    assert charts.mark("ref_teacher", dark=False).colour == "#009E73"
    assert charts.mark("a new one", dark=False) == charts.mark("a new one", dark=False)


def test_smoothing_starts_at_the_first_value_and_keeps_gaps() -> None:
    assert smoothed([4.0, None, 4.0]) == [4.0, None, pytest.approx(4.0)]
    assert smoothed([0.0, 1.0], 0.5) == [0, pytest.approx(1 / 1.5)]


def test_long_logs_are_thinned_and_end_at_the_last_step() -> None:
    log = [{"step": step, "task": 1.0} for step in range(1, 5001)]
    figure = charts.training_curves({"a": log})
    assert all(len(trace.x) <= 502 and trace.x[-1] == 5000 for trace in figure.data)


def test_a_number_measured_now_and_then_is_one_line_through_its_points() -> None:
    log = [{"step": step, "task": 1.0, "grad_cosine": 0.01 * step if step % 20 == 0 else None} for step in range(1, 101)]
    figure = charts.training_curves({"a": log})
    lines = [trace for trace in figure.data if len(trace.x) == 5]
    assert [list(line.x) for line in lines] == [[20, 40, 60, 80, 100]] * 2 and None not in lines[0].y
