"""What the Train page asks for can be asked for in every other way: by a command, by a file, by a reload, from a run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import pytest
from typer.main import get_command

from reft_studio.cli import run as run_verb
from reft_studio.cli.app import app
from reft_studio.store import settings
from reft_studio.studio.run_form import RunPlan
from reft_studio.studio.studio import Studio
from reft_studio.training.spec import RunSpec
from reft_studio.training.watch import WatchSpec
from reft_studio.workspace import Workspace
from tests.ui.finished_runs import write_run
from ui.shared import run_plan
from ui.train import run_choices
from ui.train.run_form import RunInputs, draw_run_form

if TYPE_CHECKING:
    from playwright.sync_api import Page

FORMS: list[dict[str, Any]] = [
    {},
    {"methods": ["sft", "aligned_sft", "filter_only"], "seeds": "0-1", "filtering": "drop", "scorer": "tfidf", "threshold": "0.31"},
    {"methods": ["distill_only"], "optim.steps": "", "optim.epochs": 2.5, "optim.batch_size": 10, "optim.micro_batch_size": "5"},
    {"methods": ["ref_teacher"], "optim.learning_rate": 1e-4, "optim.packing": False, "config.ref_teacher.alpha": 0.25},
    {
        "methods": ["sft"],
        "filtering": "keep",
        "lora.rank": 8,
        "lora.dropout": 0.1,
        "lora.targets": "q_proj, v_proj",
        "loading.device": "cpu",
    },
    {"methods": ["filter_only"], "drop": "6", "scorer": "random", "evaluate": False, "prompts": "own"},
    {"methods": ["sft"], "teacher": "base:lab", "preset": "booster", "judge": "refusal_phrases", "loading.attention": "eager"},
]


@pytest.fixture
def quiet(tmp_path: Path) -> Studio:
    """A studio with data and a finished run, whose queue nobody works off."""
    found = Studio(Workspace.open(tmp_path / "workspace"))
    write_run(found.workspace, "sft")
    return found


@pytest.fixture
def inputs(quiet: Studio) -> RunInputs:
    with gr.Blocks():
        return draw_run_form(quiet)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[RunPlan]:
    """What the command line would have done."""
    plans: list[RunPlan] = []

    def note(_workspace: Workspace, plan: RunPlan, _console: Any, *, evaluate: bool, **_: Any) -> tuple[dict[str, Any], str]:
        plans.append(plan)
        return {"evaluate": evaluate}, ""

    monkeypatch.setattr(run_verb, "_done", note)
    return plans


def filled(quiet: Studio, inputs: RunInputs, changed: dict[str, Any]) -> dict[str, Any]:
    """The form as it opens, with its preset chosen by hand and some fields changed."""
    values = run_choices.usual(quiet, inputs)
    if "preset" in changed:
        values |= run_choices.preset_values(quiet, inputs, changed["preset"], values["teacher"])
    return {**values, **changed}


def typed(quiet: Studio, words: str) -> None:
    """A line of the page, as a shell gives it to the command line."""
    arguments = [*shlex.split(words)[2:], "--workspace", str(quiet.workspace.root)]
    get_command(app).main(arguments, standalone_mode=False)


def same(one: RunPlan, other: RunPlan) -> bool:
    return (one.spec, one.judge, one.suite) == (other.spec, other.judge, other.suite)


@pytest.mark.parametrize("changed", FORMS)
def test_the_commands_and_the_file_of_the_page_ask_for_the_same_runs(
    quiet: Studio, inputs: RunInputs, done: list[RunPlan], tmp_path: Path, changed: dict[str, Any]
) -> None:
    values = filled(quiet, inputs, changed)
    forms = inputs.forms(*values.values())
    plans, told = quiet.runs.plan_all(forms), run_plan.plan_value(quiet, forms, evaluate=values["evaluate"])
    for line in told["command"].splitlines():
        assert ("--no-evaluate" in line) is not values["evaluate"]
        typed(quiet, line)
    assert all(same(*pair) for pair in zip(done, plans, strict=True))
    done.clear()
    (tmp_path / "spec.json").write_text(told["spec"], "utf-8")
    typed(quiet, told["from_spec"].replace("spec.json", str(tmp_path / "spec.json")))
    assert all(same(*pair) for pair in zip(done, plans, strict=True))
    assert [one.spec.run_id for one in done] == [one.spec.run_id for one in plans]


def test_the_commands_say_how_runs_are_looked_at_where_that_is_not_the_usual(
    quiet: Studio, inputs: RunInputs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks: list[WatchSpec] = []
    monkeypatch.setattr(run_verb, "_done", lambda *_, watch, **__: (looks.append(watch), ({}, ""))[1])
    forms = inputs.forms(*filled(quiet, inputs, {"methods": ["sft"]}).values())
    assert "--watch" not in run_plan.plan_value(quiet, forms)["command"]
    settings.set(quiet.workspace, "watch", "20")
    settings.set(quiet.workspace, "report_to", "trackio")
    told = run_plan.plan_value(quiet, forms, evaluate=False)
    assert told["command"].endswith(" --no-evaluate --watch 20 --report-to trackio")
    (tmp_path / "spec.json").write_text(told["spec"], "utf-8")
    for line in (told["command"], told["from_spec"].replace("spec.json", str(tmp_path / "spec.json"))):
        typed(quiet, line)
    assert looks == [quiet.training.watch()] * 2


@pytest.mark.parametrize("changed", FORMS)
def test_a_run_fills_the_form_that_asks_for_it_again(quiet: Studio, inputs: RunInputs, changed: dict[str, Any]) -> None:
    for plan in quiet.runs.plan_all(inputs.forms(*filled(quiet, inputs, changed).values())):
        again = {**run_choices.usual(quiet, inputs), **run_choices.of_spec(quiet, inputs, plan.spec, plan.judge)}
        (found,) = quiet.runs.plan_all(inputs.forms(*again.values()))
        assert found.spec == plan.spec


def test_choices_come_back_unless_they_can_no_longer_be(quiet: Studio, inputs: RunInputs) -> None:
    values = filled(quiet, inputs, {"seeds": "0-2", "methods": ["sft"], "optim.steps": "33", "filtering": "keep"})
    run_choices.keep(quiet, inputs, values)
    contents = dict(zip(inputs.fields, run_choices.opened(quiet, inputs, ""), strict=False))
    found = {name: update["value"] for name, update in contents.items()}
    assert found == {**values, "judge-model": "", **{name: found[name] for name in ("judge", "judge-threshold")}}
    quiet.settings.set(
        run_choices.KEY, {**quiet.settings.get(run_choices.KEY), "values": {**values, "teacher": "gone", "optim.steps": "-3"}}
    )
    found = {name: update["value"] for name, update in zip(inputs.fields, run_choices.opened(quiet, inputs, ""), strict=False)}
    assert (found["teacher"], found["optim.steps"], found["seeds"]) == ("lab", 160, "0-2")


def test_data_that_was_chosen_on_another_page_goes_before_the_choice_made_here(quiet: Studio, inputs: RunInputs) -> None:
    run_choices.keep(quiet, inputs, filled(quiet, inputs, {"seeds": "7"}))
    write_run(quiet.workspace, "sft", poison_ratio=0.2)
    other = next(one.id for one in quiet.datasets.every() if one.poison_ratio == 0.2)
    quiet.choose(dataset=other)
    contents = dict(zip(inputs.fields, run_choices.opened(quiet, inputs, ""), strict=False))
    assert (contents["dataset"]["value"], contents["seeds"]["value"]) == (other, "7")


def test_a_link_to_a_job_or_a_run_opens_its_settings_and_one_to_nothing_says_so(quiet: Studio, inputs: RunInputs) -> None:
    run = quiet.runs.finished()[0].run_id
    *contents, line = run_choices.opened(quiet, inputs, f"?like={run}")
    assert "'Plain SFT'" in line["text"]
    assert dict(zip(inputs.fields, contents, strict=False))["optim.steps"]["value"] == 40
    spec = RunSpec(dataset=quiet.datasets.every()[0].id, method="sft", seed=5)
    job = quiet.jobs.submit("run", {"spec": spec.model_dump(mode="json"), "suite": None, "judge": {}}, title="a run")
    *contents, line = run_choices.opened(quiet, inputs, f"?job={job}")
    found = dict(zip(inputs.fields, contents, strict=False))
    assert (found["seeds"]["value"], found["evaluate"]["value"]) == ("5", False)
    assert run_choices.opened(quiet, inputs, "?like=rnone")[-1]["kind"] == "error"


@pytest.mark.browser
def test_a_reload_brings_back_what_was_chosen_and_a_link_opens_a_run(page: Page, studio: Studio) -> None:
    trained = write_run(studio.workspace, "ref_teacher", steps=30)
    page.goto("/train")
    plan = page.locator("#train-plan")
    plan.locator(".rp-kpis .rs-kpi").first.wait_for()
    page.locator("#optim-steps input").fill("33")
    page.locator("#lora-rank input").fill("8")
    plan.locator(".rs-kpi", has_text="33").wait_for()
    plan.get_by_text("The same from the shell").click()
    plan.locator(".rp-shell", has_text="--set optim.steps=33").wait_for()
    page.locator("#train-watch").get_by_role("button").first.click()
    page.get_by_label("Look at its answers").click()
    page.get_by_role("option", name="never").click()
    plan.locator(".rp-shell", has_text="--watch off").wait_for()
    assert "--set lora.rank=8" in plan.locator(".rp-shell").inner_text()
    with page.expect_download() as saved:
        plan.get_by_role("button", name="Download spec.json").click()
    specs = json.loads(saved.value.path().read_text("utf-8"))
    assert {one["optim"]["steps"] for one in specs} == {33} and {one["lora"]["rank"] for one in specs} == {8}
    page.reload()
    plan.locator(".rs-kpi", has_text="33").wait_for()
    assert page.locator("#optim-steps input").input_value() == "33"
    page.goto(f"/train?like={trained}")
    plan.locator(".rs-kpi", has_text="30").wait_for()
    assert "like=" not in page.url
