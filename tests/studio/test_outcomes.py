"""The sweep around the line in use: which runs it queues, and what it says of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from reft_studio.data.dataset import Dataset, write_dataset
from reft_studio.errors import SpecError
from reft_studio.scoring.scores import ScoreSet, flagged, write_scores
from reft_studio.studio.outcomes import lines_around
from reft_studio.studio.studio import Studio
from reft_studio.teacher.teacher import open_teacher
from reft_studio.workspace import Workspace
from ui.filter.outcome import view_value
from ui.shared import run_plan

ROWS = 100


def scored(workspace: Workspace, values: Sequence[float]) -> tuple[Dataset, ScoreSet]:
    """Scores by the lab's teacher, whose own line is that of its calibration."""
    rows = [{"prompt": f"question {at} of {len(values)}", "response": "answer"} for at in range(len(values))]
    data = write_dataset(workspace, rows, name="user data", role="user", extra={"task": "topic"})  # type: ignore[arg-type]
    line = open_teacher(workspace, "lab").threshold
    found = write_scores(
        workspace, data, np.array(values, np.float32), key="k", scorer="refusal_feature", teacher="lab", threshold=line, info={}
    )
    return data, found


@pytest.fixture
def even(workspace: Workspace, studio: Studio) -> tuple[Dataset, ScoreSet]:
    """A hundred rows at -0.98, -0.96, …; the last two have no score. The line in use, 0.5, flags 24 of the 98."""
    values = [-0.98 + 0.02 * at for at in range(ROWS - 2)]
    data, score = scored(workspace, [*values, float("nan"), float("nan")])
    studio.choose(dataset=data.id, threshold=0.5)
    return data, score


def test_the_lines_remove_half_as_many_rows_as_many_and_twice_as_many(even: tuple[Dataset, ScoreSet]) -> None:
    _, score = even
    lines = lines_around(score, 0.5)
    values = score.scores()
    assert [line.removed for line in lines] == [int(flagged(values, line.threshold).sum()) + 2 for line in lines]
    assert lines[1].threshold == 0.5
    assert [line.removed - 2 for line in lines] == [12, 24, 48], "and the two rows without a score"


def test_every_line_has_a_control_of_the_same_size_with_the_same_seeds(studio: Studio, even: tuple[Dataset, ScoreSet]) -> None:
    data, _ = even
    sweep = studio.outcomes.sweep(data.id, "k", seeds=(0, 3))
    specs = [planned.spec for planned in sweep.plans]
    assert len(specs) == len({spec.run_id for spec in specs}) == 2 * (1 + 3 + 3)
    for seed in (0, 3):
        of = [(spec, planned) for spec, planned in zip(specs, sweep.plans, strict=True) if spec.seed == seed]
        filtered = {one.removed: spec for spec, one in of if spec.filters_with == "lab"}
        control = {one.removed: spec for spec, one in of if spec.filters_with == "random"}
        plain = [spec for spec, one in of if not spec.filter]
        assert sorted(filtered) == sorted(control) == [14, 26, 50]
        assert [filtered[size].threshold for size in sorted(filtered)] == [line.threshold for line in sweep.lines]
        assert {size: spec.drop for size, spec in control.items()} == {14: 14, 26: 26, 50: 50}
        assert len(plain) == 1
        shared = {repr((spec.model, spec.optim, spec.lora, spec.template, spec.loading)) for spec, _ in of}
        assert len(shared) == 1, "nothing but the rows differs"


def test_the_sweep_is_about_the_line_alone_whatever_people_decided(studio: Studio, even: tuple[Dataset, ScoreSet]) -> None:
    data, _ = even
    before = studio.outcomes.sweep(data.id, "k")
    studio.audit.decide(data.id, 0, "keep")
    after = studio.outcomes.sweep(data.id, "k")
    assert [one.spec.run_id for one in after.plans] == [one.spec.run_id for one in before.plans]
    assert after.settings == f"{before.settings}, by the scores alone: what people decided about rows is left aside"


def test_the_sweep_is_queued_by_one_press_and_only_what_is_missing(studio: Studio, even: tuple[Dataset, ScoreSet]) -> None:
    data, _ = even
    sweep = studio.outcomes.sweep(data.id, "k")
    said = run_plan.start(studio, sweep.fresh, evaluate=True, first=False)
    jobs = [job for job in studio.jobs.list(20) if job.kind == "run"]
    assert said.startswith("7 runs queued")
    assert {job.params["spec"]["seed"] for job in jobs} == {0} and all(job.params["suite"] for job in jobs)
    assert sorted(job.params["spec"]["drop"] or 0 for job in jobs) == [0, 0, 0, 0, 14, 26, 50]


def test_the_tab_says_what_it_would_show_and_what_it_costs(studio: Studio, even: tuple[Dataset, ScoreSet]) -> None:
    data, _ = even
    value = view_value(studio.outcomes.found(data.id, "k"), studio.outcomes.sweep(data.id, "k"), "")
    assert "exactly as many rows by chance" in value["empty"] and value["rows"] == []
    assert "7 runs to do" in value["cost"] and "26 rows" in value["cost"] and "seed 0" in value["cost"]
    assert "no run on this base has been timed yet" in value["cost"]


def test_a_line_that_flags_nothing_or_everything_gives_way_to_others(workspace: Workspace) -> None:
    _, score = scored(workspace, [-0.98 + 0.02 * at for at in range(98)])
    assert [line.removed for line in lines_around(score, 1.0)] == [1, 5, 10]
    assert [line.removed for line in lines_around(score, -1.0)] == [22, 44, 88]
    assert [line.removed for line in lines_around(score, -0.4)] == [17, 35, 69], "twice 69 rows would leave none to learn from"


def test_scores_that_cannot_be_cut_are_refused_in_words(workspace: Workspace, studio: Studio) -> None:
    data, _ = scored(workspace, [0.5] * 10)
    studio.choose(dataset=data.id)
    with pytest.raises(SpecError, match="All 10 rows have the same score"):
        studio.outcomes.sweep(data.id, "k")
