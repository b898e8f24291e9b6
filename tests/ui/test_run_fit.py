"""Before a run is started the page says whether it fits, how long it takes and by what, and offers what would help."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr
import pytest

from reft_studio.errors import PrerequisiteError
from reft_studio.models import memory
from reft_studio.models.memory import Room
from reft_studio.models.spec import OptimSpec
from reft_studio.progress import Silent
from reft_studio.studio import memory as fitting
from reft_studio.studio.run_form import RunForm
from reft_studio.studio.run_needs import Timing
from reft_studio.studio.studio import Studio
from reft_studio.tasks.measure import measure
from reft_studio.training.run_folder import list_runs
from reft_studio.workspace import Workspace
from tests.ui.finished_runs import write_run
from ui.shared import run_fit, run_plan
from ui.train import run_choices
from ui.train.run_form import draw_run_form, helped

if TYPE_CHECKING:
    from playwright.sync_api import Page

expect = pytest.importorskip("playwright.sync_api").expect


@pytest.fixture
def quiet(workspace: Workspace) -> Studio:
    """A studio with data and one finished run of 40 steps in 12.5 s."""
    write_run(workspace, "sft")
    return Studio(workspace)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that so many bytes are free."""

    def set_free(size: float) -> None:
        monkeypatch.setattr(memory, "room", lambda device="auto": Room("cpu", size, 16e9))
        fitting._room.cache_clear()

    yield set_free
    fitting._room.cache_clear()


def form(studio: Studio, **changes: Any) -> RunForm:
    return RunForm(dataset=studio.datasets.every()[0].id, **{"method": "sft", **changes})


def test_what_does_not_fit_is_said_with_buttons_and_is_not_queued(quiet: Studio, free: Any) -> None:
    free(1e6)
    told = run_plan.plan_value(quiet, [form(quiet)])
    assert told["fit"][0]["kind"] == "no" and told["warnings"][-1]["kind"] == "error"
    assert [one["act"] for one in told["remedies"]] == ["micro", "checkpointing", "length"]
    assert told["remedies"][0]["text"] == "Micro-batch 24 → 12"
    with pytest.raises(PrerequisiteError, match="needs about"):
        quiet.runs.start(form(quiet))
    free(12e9)
    assert [one["act"] for one in run_plan.plan_value(quiet, [form(quiet)])["remedies"]] == []


def test_a_remedy_changes_its_own_field_of_the_form(quiet: Studio) -> None:
    with gr.Blocks():
        inputs = draw_run_form(quiet)
    values = run_choices.usual(quiet, inputs)
    changed = {act: helped(inputs, values, act) for act in ("micro", "checkpointing", "nf4", "length", "unknown")}
    assert [[one.get("value") for one in updates if "value" in one] for updates in changed.values()] == [["18"], [True], ["nf4"], [256], []]


def test_the_time_says_what_it_rests_on(quiet: Studio) -> None:
    exact, rough, unknown = quiet.runs.plan_all(
        [form(quiet, seed=3), form(quiet, method="sa_ft"), form(quiet, optim=OptimSpec(batch_size=5))]
    )
    assert exact.time is not None and rough.time is not None and unknown.time is None
    assert (exact.time.source, exact.time.exact) == ("from a finished run with these settings", True)
    assert (rough.time.source, rough.time.exact) == ("roughly, from a finished run with other settings", False)
    assert exact.time.training == pytest.approx(160 * 12.5 / 40)
    told = run_plan.plan_value(quiet, [form(quiet, optim=OptimSpec(batch_size=5))])
    assert told["fit"][-1]["kind"] == "quiet" and told["remedies"][-1]["act"] == run_fit.MEASURE


def test_what_some_runs_take_is_told_though_others_are_not_known(quiet: Studio) -> None:
    forms = [form(quiet, seed=3), form(quiet, optim=OptimSpec(batch_size=5)), form(quiet, method="sa_ft", optim=OptimSpec(batch_size=5))]
    told = run_plan.plan_value(quiet, forms)
    line = told["fit"][-1]
    assert line["text"] == (
        "For 1 of 3 runs, from a finished run with these settings; evaluation not counted in. Not known of Plain SFT and SA+FT from base: "
        "nothing like them has been trained here."
    )
    assert line["kind"] == "quiet"
    assert told["kpis"][-1] == ["at least", "50 s"] and told["remedies"][-1]["act"] == run_fit.MEASURE
    assert run_plan.plan_value(quiet, forms[:1])["kpis"][-1] == ["about", "50 s"]
    assert run_plan.plan_value(quiet, forms[1:])["kpis"][-1] == ["about", "–"]


def test_what_comes_before_the_users_data_is_in_the_time_once_it_was_timed(quiet: Studio) -> None:
    asked = form(quiet, method="booster", seed=3)
    (plan,) = quiet.runs.plan_all([asked])
    assert plan.time is not None and plan.time.stages is None
    line = run_plan.plan_value(quiet, [asked])["fit"][-1]["text"]
    assert "trainings before the user's data not counted in, none was timed here" in line
    (run,) = list_runs(quiet.workspace)
    done = replace(run, spec=plan.spec, result={**run.result, "seconds": 80.0, "steps": 160, "stages": [{"seconds": 40.0}]})
    timed = Timing(quiet.workspace, [done]).of(plan.spec, 320)
    assert timed is not None and (timed.training, timed.stages) == (160.0, 80.0)
    assert replace(plan, time=timed, suite=None).estimate_s == 240.0
    plain = Timing(quiet.workspace, [done]).of(quiet.runs.plan_all([form(quiet, seed=3)])[0].spec, 320)
    assert plain is not None and plain.stages == 0


def test_beside_a_gpu_the_machines_own_memory_is_a_line_of_its_own(quiet: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def line(free: float) -> dict[str, str]:
        places = {"cpu": Room("cpu", free, 128e9), "auto": Room("cuda:0", 140e9, 141e9)}
        monkeypatch.setattr(memory, "room", lambda device="auto": places[device])
        fitting._room.cache_clear()
        told = run_plan.plan_value(quiet, [form(quiet)])
        assert [one["what"] for one in told["fit"]] == ["Memory", "RAM", "Disk", "Time"]
        assert any("machine's own memory" in one["text"] for one in told["warnings"]) == (free < 2e9)
        return dict(told["fit"][1])

    enough = line(100e9)
    assert enough["kind"] == "ok" and enough["text"] == "Beside the GPU up to 2.0 GB of the machine's own 128.0 GB, 100.0 GB free."
    assert "2.0 GB for the process" in enough["details"] and line(3e9)["kind"] == "tight" and line(1e9)["kind"] == "no"
    fitting._room.cache_clear()


def test_a_few_steps_are_timed_on_the_real_model_and_leave_no_run(quiet: Studio) -> None:
    wanted = form(quiet, method="ref_teacher", optim=OptimSpec(steps=20, batch_size=4, alignment_batch_size=2, max_length=64))
    assert "1 method will be timed" in run_fit.measure(quiet, [quiet.runs.plan(wanted)])
    (job,) = quiet.jobs.list()
    assert (job.kind, job.title) == ("measure", "Time some steps of Ref-Teacher")
    context: Any = Silent()
    context.workspace = quiet.workspace
    found = measure(context, job.params)
    planned = quiet.runs.plan(wanted)
    assert planned.time is not None and planned.time.source == "from 3 measured steps"
    assert planned.time.training == pytest.approx(20 * found["seconds"]) and found["seconds"] > 0
    assert len(quiet.runs.finished()) == 1 and not planned.done_already


def fresh_form(studio: Studio) -> None:
    """As on the first visit, with data of the lab in use: another file's tests may have chosen their own."""
    studio.choose(dataset=next(one.id for one in studio.datasets.every() if one.is_lab))
    studio.settings.set(run_choices.KEY, {})


@pytest.mark.browser
def test_the_buttons_of_the_plan_change_the_form_until_the_run_fits(page: Page, studio: Studio, free: Any) -> None:
    fresh_form(studio)
    free(1e6)
    page.goto("/train")
    plan = page.locator("#train-plan")
    page.locator("#train-advanced").get_by_role("button").first.click()
    plan.get_by_role("button", name="Micro-batch 36 → 18").click()
    plan.get_by_role("button", name="Micro-batch 18 → 9").wait_for()
    expect(page.locator("#optim-micro_batch_size input")).to_have_value("18")
    plan.get_by_role("button", name="Gradient checkpointing on").click()
    expect(plan.get_by_role("button", name="Gradient checkpointing on")).to_have_count(0)
    expect(page.locator("#optim-gradient_checkpointing input")).to_be_checked()
    plan.get_by_role("button", name="Length 512 → 256 tokens").click()
    expect(page.locator("#optim-max_length input")).to_have_value("256")
    assert plan.locator("[data-kind=no]", has_text="Memory").is_visible()
    free(12e9)
    page.reload()
    plan.locator("[data-kind=ok]", has_text="Memory").wait_for()
    assert plan.get_by_role("button", name="Micro-batch").count() == 0, "what fits needs no help"


@pytest.mark.browser
def test_the_button_that_measures_the_time_queues_it(page: Page, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[tuple[str, str]] = []
    monkeypatch.setattr(studio.jobs, "submit_once", lambda kind, params, title: queued.append((kind, title)))
    fresh_form(studio)
    page.goto("/train")
    plan = page.locator("#train-plan")
    plan.locator(".rs-kpi").first.wait_for()
    page.locator("#optim-batch_size input").fill("5")
    plan.get_by_role("button", name="Measure the time").click()
    page.get_by_text("methods will be timed for a few steps each").wait_for()
    assert [kind for kind, _ in queued] == [run_fit.MEASURE] * 2 and queued[0][1].startswith("Time some steps of ")
