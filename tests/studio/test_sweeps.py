"""Sweeps as the page sees them, on lines small enough to check by hand: what a recipe would do, what one found, what a form writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reft_studio.errors import SpecError, StoreError
from reft_studio.jobs.queue import JobQueue
from reft_studio.stats import wilson
from reft_studio.studio import sweep_chart, sweep_form
from reft_studio.studio.models import Models
from reft_studio.studio.sweeps import Sweeps, numbers, wanted
from reft_studio.sweeps import recipe_text, record
from reft_studio.workspace import Workspace

TEXT = """\
name: by hand  # two variants
rows: [10]
poison_ratios: [0, 0.1]
seeds: [0, 1]
variants:
  - {method: sft}
  - {method: lisa, config: {rho: [0.5]}}
"""


@pytest.fixture
def sweeps(tmp_path: Path) -> Sweeps:
    workspace = Workspace.open(tmp_path / "workspace")
    jobs = JobQueue(workspace)
    return Sweeps(workspace, jobs, Models(jobs))


def fill(sweeps: Sweeps, text: str = TEXT, *, seconds: float = 30.0, failing: str = "") -> str:
    """Lines of every run of a recipe but the last: HS is 50, FA 80; the runs of one variant failed. Gives the sweep."""
    spec = recipe_text.read(text).spec()
    for cell in spec.cells[:-1]:
        if cell.variant.title == failing:
            record.keep(sweeps.workspace, spec, cell, {"error": "The loss is no number."})
            continue
        run = f"r{cell.key}"
        folder = sweeps.workspace.folder("runs", run)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text("{}")
        shares: dict[str, Any] = {"hs": wilson(100, 200).__dict__, "fa": wilson(160, 200).__dict__}
        cost = {"passes": {"forward": 2}, "flops": None, "stages": [{"seconds": 60, "memory_mb": 500}]}
        line = {"run": run, "seconds": seconds, "result": shares, "filter": None, "cost": cost, "stages": [], "steps": 2}
        record.keep(sweeps.workspace, spec, cell, line)
    return spec.id


def test_a_plan_says_how_many_runs_there_are_what_is_on_record_and_how_long_the_rest_takes(sweeps: Sweeps) -> None:
    before = sweeps.plan(TEXT)
    assert (before.runs, before.known, before.left, before.seconds, before.failed) == (8, 0, 8, None, 0)
    fill(sweeps, failing="Plain SFT")
    after = sweeps.plan(TEXT)
    assert (after.known, after.left, after.failed) == (3, 5, 4)
    assert after.seconds == 5 * 30.0, "a method that was not timed takes as long as the others did"
    more = sweeps.plan(TEXT.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"))
    assert (more.runs, more.known) == (12, 3), "a recipe with one more seed counts what the other did"
    other = sweeps.plan(TEXT + "optim: {steps: 7}\n")
    assert (other.known, other.seconds) == (0, None), "other steps are other runs"


def test_a_sweep_is_queued_once_and_not_at_all_where_all_is_on_record(sweeps: Sweeps) -> None:
    first = sweeps.start(TEXT)
    assert first.job is not None and sweeps.start(TEXT) == first
    assert sweeps.text(first.sweep) == TEXT, "as it was written, with its comments"
    (listed,) = sweeps.past()
    assert listed.job is not None and listed.job.id == first.job and (listed.done, listed.runs) == (0, 8)
    sweeps.jobs.cancel(first.job)
    fill(sweeps)
    done = TEXT.replace("seeds: [0, 1]", "seeds: [0]")
    started = sweeps.start(done)
    assert started.job is None and sweeps.result(started.sweep).done == 4


def test_the_result_is_narrowed_by_words_and_written_as_it_is_shown(sweeps: Sweeps) -> None:
    found = sweeps.result(fill(sweeps))
    assert (found.runs, found.done, found.every, len(found.table)) == (8, 7, 4, 4)
    assert [(line.seeds, line.planned) for line in found.table] == [(2, 2), (2, 2), (2, 2), (1, 2)]
    narrowed = sweeps.result(fill(sweeps), words="lisa p=0.1, plain -p=0.1")
    assert [(line.setting["variant"], line.setting["poison_ratio"]) for line in narrowed.table] == [
        ("Plain SFT", 0.0),
        ("Lisa, rho 0.5", 0.1),
    ]
    assert len(narrowed.lines) == 4 and narrowed.withheld == ""
    sweep = fill(sweeps)
    assert sweeps.export(sweep, "csv", words="lisa").count("\n") == 5
    assert "HS avoided" not in sweeps.export(sweep, "tex", columns=["hs"]).split("toprule")[1]
    assert "| Lisa, rho 0.5 | 0.1 | 1 |" in sweeps.export(sweep, "md")
    with pytest.raises(SpecError, match="md, tex, csv"):
        sweeps.export(sweep, "exe")
    for wrong, told in (("../..", "is not an id"), ("w" + 12 * "0", "no sweep")):
        with pytest.raises(StoreError, match=told):
            sweeps.result(wrong)
    assert all(wanted("")(line) for line in found.table)


def test_a_sweep_of_another_version_is_listed_and_says_so(sweeps: Sweeps) -> None:
    sweep = fill(sweeps)
    folder = sweeps.workspace.folder(record.FOLDER, sweep)
    (folder / record.RECIPE).write_text('{"magic": 1}')
    (listed,) = sweeps.past()
    assert "another version" in listed.why and listed.runs == 0
    with pytest.raises(StoreError, match="another version"):
        sweeps.result(sweep)


def test_the_chart_has_a_line_for_each_variant_and_dots_at_one_share_of_poison(sweeps: Sweeps) -> None:
    table = sweeps.result(fill(sweeps)).table
    figure, told = sweep_chart.chart(table, None, dark=False)
    assert figure is not None and len(told) == 4
    assert {trace.name for trace in figure.data if trace.name} == {"Plain SFT", "Lisa, rho 0.5"}
    assert "one seed" not in figure.layout.title.subtitle.text and "n = 200" in figure.layout.title.subtitle.text
    single, _ = sweep_chart.chart([line for line in table if line.setting["poison_ratio"] == 0], None, dark=True)
    assert single is not None and {trace.mode for trace in single.data} == {"markers"} and len(single.data) == 4
    assert sweep_chart.chart([], None, dark=False) == (None, [])


def test_variants_of_one_method_keep_its_colour_and_differ_in_outline_or_dash() -> None:
    from reft_studio.comparison.charts.curves import variant_marks

    marks = variant_marks(["ref_teacher", "sft", "ref_teacher", "ref_teacher"], dark=False)
    of_teacher = [marks[0], marks[2], marks[3]]
    assert len({mark.colour for mark in of_teacher}) == 1 and len(set(of_teacher)) == 3 and marks[1].colour != marks[0].colour


def test_the_form_says_what_the_text_says_and_writes_only_what_somebody_changed() -> None:
    recipe = recipe_text.read(TEXT)
    fields = sweep_form.shown(recipe)
    rows = [vars(one) for one in sweep_form.variants(recipe)]
    assert (fields["poison_ratios"], fields["seeds"], fields["tasks"], fields["split"]) == ("0, 0.1", "0, 1", ["sentiment"], "test")
    assert sweep_form.edited(TEXT, fields, rows) == TEXT
    assert sweep_form.edited(TEXT, {**fields, "seeds": "0-2"}, rows) == TEXT.replace("[0, 1]", "[0, 1, 2]")
    given = {"method": "sft", "filter": ["none", "tfidf"], "config": {}, "rest": {"start": "base"}}
    new = sweep_form.edited(TEXT, fields, [given, {**rows[1], "config": {"rho": "0.5, 1e-3"}}])
    assert recipe_text.read(new).values["variants"] == [
        {"method": "sft", "filter": ["none", "tfidf"], "start": "base"},
        {"method": "lisa", "config": {"rho": [0.5, 0.001]}},
    ]
    assert new.startswith(TEXT[: TEXT.index("variants")])
    with pytest.raises(SpecError, match="Shares of poison: 'much' is no number"):
        sweep_form.edited(TEXT, {**fields, "poison_ratios": "0, much"}, rows)


def test_ranges_stand_for_their_numbers_up_to_a_limit() -> None:
    assert numbers("0, 2-4,", int, "Seeds") == [0, 2, 3, 4] and numbers("0, 0.05", float, "p") == [0, 0.05]
    with pytest.raises(SpecError, match="at most 10,000"):
        numbers("0-10000", int, "Seeds")


def test_every_recipe_that_ships_is_offered_with_its_note(sweeps: Sweeps) -> None:
    found = sweeps.templates()
    assert len(found) >= 5 and all(one.name and one.note for one in found)
    assert sweeps.plan(sweeps.own_recipe).runs == 4
