from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import pytest

from reft_studio.errors import SpecError
from reft_studio.jobs.view import JobView
from reft_studio.models.spec import PRESETS
from reft_studio.studio.run_form import RunForm
from reft_studio.studio.studio import Studio
from reft_studio.workspace import Workspace
from tests.ui.finished_runs import prepare_teacher_folder, write_run
from tests.ui.training_job import JOB
from ui.forms import parse_seeds
from ui.shared import jobs, run_plan
from ui.train import run_choices
from ui.train.run_form import (
    DEFAULT_METHODS,
    RunInputs,
    base_of,
    based_on,
    draw_run_form,
    foreign,
    preset_choices,
    scorer_choices,
    teacher_choices,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def quiet(tmp_path: Path) -> Studio:
    """A studio whose queue nobody works off."""
    return Studio(Workspace.open(tmp_path / "workspace"))


@pytest.fixture
def project(quiet: Studio) -> str:
    """A teacher without weights, and one finished run; the id of its data."""
    prepare_teacher_folder(quiet.workspace)
    write_run(quiet.workspace, "sft")
    return quiet.datasets.every()[0].id


def inputs(studio: Studio) -> RunInputs:
    """The form, drawn outside of the app."""
    with gr.Blocks():
        return draw_run_form(studio)


def values(found: RunInputs, **changed: Any) -> list[Any]:
    """What the browser would send: the form as it stands, with some inputs changed."""
    return [changed.get(name, field.value) for name, field in found.fields.items()]


# --- the form ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "seeds"), [("0", [0]), ("0-2", [0, 1, 2]), (" 3, 1 ,3", [3, 1]), ("0, 5 to 6", [0, 5, 6])])
def test_seeds_may_be_a_list_or_a_range(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1.5", "-1", "0-99", "1,,2", "5-3"])
def test_seeds_that_are_none_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(SpecError, match=r"seeds|Seeds"):
        parse_seeds(text)


def test_every_method_becomes_a_run_with_every_seed(quiet: Studio) -> None:
    found = inputs(quiet)
    forms = found.forms(*values(found, dataset="d" * 16, seeds="0,1"))
    assert [(form.method, form.seed) for form in forms] == list(itertools.product(DEFAULT_METHODS, (0, 1)))
    assert {form.preset for form in forms} == {"auto"}
    assert {form.filter for form in forms} == {None}


def test_every_setting_reaches_the_forms_and_all_runs_share_them(quiet: Studio) -> None:
    found = inputs(quiet)
    changed = {"dataset": "d" * 16, "optim.steps": "7", "lora.rank": 4, "loading.device": "cuda:1", "config.ref_teacher.alpha": 0.25}
    plain, guided = found.forms(*values(found, **changed))
    assert plain.optim is not None and guided.lora is not None and guided.loading is not None
    assert (plain.optim.steps, guided.lora.rank, guided.loading.device) == (7, 4, "cuda:1")
    assert (plain.optim, plain.lora, plain.loading) == (guided.optim, guided.lora, guided.loading)
    assert (guided.method_config["alpha"], plain.method_config) == (0.25, {})
    assert found.forms(*values(found, dataset="d" * 16))[0].loading is None


def test_a_setting_out_of_range_is_named_with_what_is_allowed(quiet: Studio) -> None:
    found = inputs(quiet)
    with pytest.raises(SpecError, match=r"Learning rate is -1.*above 0"):
        found.forms(*values(found, dataset="d" * 16, **{"optim.learning_rate": -1}))
    with pytest.raises(SpecError, match="Threshold is 'high'"):
        found.forms(*values(found, dataset="d" * 16, threshold="high"))
    with pytest.raises(SpecError, match="both given"):
        found.forms(*values(found, dataset="d" * 16, threshold="0.2", drop="3"))


@pytest.mark.parametrize(("changed", "missing"), [({"dataset": None}, "dataset"), ({"methods": [], "dataset": "d"}, "method")])
def test_nothing_is_planned_before_the_choices_are_made(quiet: Studio, changed: dict[str, Any], missing: str) -> None:
    found = inputs(quiet)
    with pytest.raises(SpecError, match=missing):
        found.forms(*values(found, **changed))


def test_the_filter_can_be_forced_for_all_methods_alike(quiet: Studio) -> None:
    found = inputs(quiet)
    assert {form.filter for form in found.forms(*values(found, dataset="d" * 16, filtering="drop"))} == {True}
    assert {form.filter for form in found.forms(*values(found, dataset="d" * 16, filtering="keep"))} == {False}


def test_another_scorer_flags_rows_for_the_methods_that_filter_and_for_all_when_forced(quiet: Studio) -> None:
    found = inputs(quiet)
    plain, guided = found.forms(*values(found, dataset="d" * 16, scorer="tfidf"))
    assert (plain.scorer, guided.scorer) == (None, "tfidf")
    assert {form.scorer for form in found.forms(*values(found, dataset="d" * 16, filtering="drop", scorer="tfidf"))} == {"tfidf"}
    assert "tfidf" in dict(map(reversed, scorer_choices(quiet)))


def test_the_command_names_the_scorer_that_flags(quiet: Studio, project: str) -> None:
    plan = run_plan.plan_value(quiet, [form(project, scorer="tfidf").model_copy(update={"method": "filter_only"})])
    assert "--filter tfidf" in plan["command"]


def test_prompts_and_judge_reach_the_form_only_where_they_differ_from_the_usual(quiet: Studio) -> None:
    found = inputs(quiet)
    assert {(form.judge, form.prompts) for form in found.forms(*values(found, dataset="d" * 16))} == {(None, "auto")}
    changed = {"judge": "wildguard", "judge-model": " /own/guard ", "prompts": "own"}
    form = found.forms(*values(found, dataset="d" * 16, **changed))[0]
    assert form.judge is not None
    assert (form.judge.name, form.judge.model, form.prompts) == ("wildguard", "/own/guard", "own")
    with pytest.raises(SpecError, match=r"threshold is 1\.5"):
        found.forms(*values(found, dataset="d" * 16, **{"judge": "beaver_dam", "judge-threshold": 1.5}))


def test_presets_are_offered_by_what_they_are(quiet: Studio) -> None:
    labels, names = zip(*preset_choices(), strict=True)
    assert names == ("auto", "lab", "lab-quick", "real", "kaist", "booster")
    assert labels[:3] == ("As fits the base", "Lab (160 steps)", "Lab, quick (80 steps)")
    assert labels[4:] == ("KAIST lineage: a guess (3 passes over the data)", "Booster family (20 passes over the data)")


def test_another_base_takes_along_the_settings_that_fit_it_unless_they_were_changed(quiet: Studio) -> None:
    found = inputs(quiet)
    given = found.read(*values(found, teacher="base:mine"))
    info, steps, *_ = run_choices.of_preset(quiet, found, given, by_hand=False)
    assert (steps["value"], "fit the base" in info["info"]) == (PRESETS["real"].optim.steps, True)
    own = {**given, "optim.steps": "99"}
    assert not any("value" in update for update in run_choices.of_preset(quiet, found, own, by_hand=False))
    assert any(update.get("value") == 32 for update in run_choices.of_preset(quiet, found, {**own, "preset": "kaist"}, by_hand=True))


def test_aligned_weights_are_no_teacher(quiet: Studio, project: str) -> None:
    assert "stand-in" in [name for _, name in teacher_choices(quiet)]
    assert "lab-aligned" not in [name for _, name in teacher_choices(quiet)]


# --- the plan and the queue --------------------------------------------------------------------------------------------------------


def form(dataset: str, **changes: Any) -> RunForm:
    return RunForm(dataset=dataset, method="sft", teacher="stand-in", **changes)


def test_the_plan_tells_runs_rows_steps_and_the_command(quiet: Studio, project: str) -> None:
    plan = run_plan.plan_value(quiet, [form(project), form(project, seed=1)])
    assert plan["text"] == "Plain SFT, 160 steps, seed 0; Plain SFT, 160 steps, seed 1."
    memory, disk, took = plan["fit"]
    assert re.fullmatch(r"Needs up to \d+\.\d [MG]B of \d+\.\d GB on the CPU, \d+\.\d GB free\.", memory["text"])
    assert memory["details"].startswith("Plain SFT, 160 steps, seed 0: about 0.7 GB of ")
    assert disk["text"].startswith("Writes up to ") and (memory["kind"], disk["kind"]) == ("ok", "ok")
    assert took["text"] == "From a finished run with these settings; evaluation not counted in."
    assert plan["kpis"][:3] == [["runs", "2"], ["rows", "60"], ["steps each", "160"]]
    assert plan["kpis"][3][1] == "1 min 40 s"  # 12.5 s for 40 steps
    assert plan["command"].count("python launch.py run ") == 2


def test_the_command_says_every_setting(quiet: Studio, project: str) -> None:
    own = PRESETS["real"].optim.model_copy(update={"steps": 7, "micro_batch_size": 4})
    plan = run_plan.plan_value(quiet, [form(project, filter=False, optim=own, prompts="own")])
    assert "--no-filter --prompts own" in plan["command"]
    assert "--set optim.steps=7" in plan["command"] and "--set optim.micro_batch_size=4" in plan["command"]


def test_a_base_without_a_teacher_can_be_chosen(quiet: Studio) -> None:
    assert based_on("base:smollm2-135m") == {"model": "smollm2-135m"}
    assert based_on("lab") == {"teacher": "lab"}
    assert based_on(foreign("t1", "/my: models/x")) == {"teacher": "t1", "model": "/my: models/x"}
    assert base_of(quiet, foreign("t1", "mine")) == "mine"
    assert (base_of(quiet, "base:mine"), base_of(quiet, "lab"), base_of(quiet, None)) == ("mine", "lab", "lab")


def test_a_run_that_was_done_is_not_done_again(quiet: Studio, project: str) -> None:
    done = form(project, optim=PRESETS["lab"].optim.model_copy(update={"steps": 40}))
    plan = run_plan.plan_value(quiet, [done])
    assert plan["text"].startswith("All of this has been run already")
    assert run_plan.start(quiet, [done], evaluate=True, first=False).startswith("Nothing was queued")
    assert quiet.jobs.list() == []


def test_runs_are_queued_in_order_and_run_now_goes_before_what_waits(quiet: Studio, project: str) -> None:
    first = run_plan.start(quiet, [form(project, seed=seed) for seed in (1, 2)], evaluate=True, first=False)
    second = run_plan.start(quiet, [form(project, seed=seed) for seed in (3, 4)], evaluate=False, first=True)
    assert first.startswith("2 runs queued and")
    assert second.startswith("2 runs queued before everything that waits")
    queued = quiet.jobs.list()
    assert [job.params["spec"]["seed"] for job in queued] == [3, 4, 1, 2]
    assert [job.params["suite"] is None for job in queued] == [True, True, False, False]


# --- the job panel -----------------------------------------------------------------------------------------------------------------


def test_a_running_job_shows_stage_amount_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1012.0)
    card = jobs.card(JOB)
    assert card["stage_text"] == "Stage 2 of 4: train"
    assert card["left"] == "40 of 160, 8.0 per second"
    assert card["right"] == "about 15 s left, 12 s so far"
    assert (card["share"], card["actions"]) == (0.25, ["stop", "pause", "cancel"])


def test_a_job_that_counts_its_whole_shows_one_bar_and_a_percentage() -> None:
    card = jobs.card(replace(JOB, kind="demo", done=679, total=1000))
    assert (card["left"], card["share"], card["stages"], card["stage"]) == ("67 % of the whole", 0.679, 1, 1)
    assert card["stage_text"] == "Stage 2 of 4: train"


def test_no_time_left_is_claimed_before_the_pace_is_steady() -> None:
    assert "left" not in jobs.card(replace(JOB, eta_s=None))["right"]


def test_jobs_stand_in_the_order_in_which_they_matter() -> None:
    now = 10_000.0
    views = [
        replace(JOB, id="old", state="done", finished=now - jobs.RECENT_S - 1),
        replace(JOB, id="second", state="queued", position=2),
        replace(JOB, id="failed", state="failed", finished=now - 10),
        replace(JOB, id="first", state="queued", position=1),
        replace(JOB, id="now"),
    ]
    assert [view.id for view in jobs.arranged(views, now=now)] == ["now", "first", "second", "failed"]


def test_a_failed_job_shows_its_message_cleaned_and_offers_another_try() -> None:
    card = jobs.card(replace(JOB, state="failed", finished=1042.0, message="Loss is nan at step 3.\u202e"))
    assert (card["badge"], card["actions"]) == ("Failed after 42 s", ["retry", "anew", "dismiss"])
    assert card["message"] == "Loss is nan at step 3.⟨U+202E⟩"


def test_buttons_of_the_panel_act_on_the_queue(quiet: Studio, project: str) -> None:
    run_plan.start(quiet, [form(project, seed=1), form(project, seed=2)], evaluate=False, first=False)
    first, second = quiet.jobs.list()
    jobs.act_on(quiet, second.id, "up")
    assert [job.id for job in quiet.jobs.list()] == [second.id, first.id]
    jobs.act_on(quiet, second.id, "cancel")
    assert quiet.jobs.get(second.id).state == "cancelled"
    jobs.act_on(quiet, second.id, "retry")
    assert quiet.jobs.get(second.id).state == "queued"
    jobs.act_on(quiet, second.id, "first")
    jobs.act_on(quiet, first.id, "pause")
    assert [(job.id, job.state) for job in quiet.jobs.list()] == [(second.id, "queued"), (first.id, "paused")]
    jobs.act_on(quiet, first.id, "resume")
    assert [job.id for job in quiet.jobs.list()] == [first.id, second.id]
    jobs.act_on(quiet, "", "hold")
    assert quiet.jobs.after_failure == "hold"
    jobs.act_on(quiet, first.id, "erase the disk")


def test_a_job_that_waits_says_for_what_and_offers_what_helps() -> None:
    disk = jobs.card(replace(JOB, state="paused", waits="disk", message="Paused: the disk at / is full."))
    assert (disk["badge"], disk["actions"], disk["message"]) == (
        "Waits for the disk",
        ["resume", "cancel"],
        "Paused: the disk at / is full.",
    )
    device = jobs.card(replace(JOB, waits="device", stage=""))
    assert (device["badge"], device["stage_text"], device["again"]) == ("Waits for the device", "", "/train?job=run-1")
    assert jobs.card(replace(JOB, asked="pause"))["actions"] == ["cancel"]


# --- in a browser ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shown_jobs(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> list[JobView]:
    """The queue as the test says."""
    views = [JOB, replace(JOB, id="run-2", state="queued", position=1, title="<img src=x onerror=alert(1)>", started=None)]
    monkeypatch.setattr(studio.jobs, "list", lambda limit=60: list(views))
    monkeypatch.setattr(studio.jobs, "metrics", lambda job, offset, kinds: ([], offset))
    return views


@pytest.fixture
def trained(studio: Studio) -> Iterator[str]:
    """A finished run in the workspace of the app."""
    run = write_run(studio.workspace, "ref_teacher", steps=30)
    yield run
    for path in studio.workspace.folder("runs", run).rglob("*"):
        if path.is_file():
            path.unlink()


@pytest.mark.browser
def test_the_panel_follows_a_job_to_its_end_and_its_buttons_reach_the_queue(
    page: Page, studio: Studio, shown_jobs: list[JobView], monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[str] = []
    monkeypatch.setattr(studio.jobs, "cancel", cancelled.append)
    page.goto("/train")
    card = page.locator("#train-jobs [data-job=run-1]")
    card.get_by_text("Stage 2 of 4: train").wait_for()
    assert card.locator(".jp-bar i").count() == 4
    assert card.get_by_role("progressbar").get_attribute("aria-valuenow") == "31"  # one stage of four and a quarter of the second
    assert page.locator("#train-jobs [data-job=run-2] .jp-title").inner_text() == "<img src=x onerror=alert(1)>"
    card.get_by_role("button", name="Cancel this job").click()
    shown_jobs[0] = replace(JOB, state="failed", finished=time.time(), message="Out of memory. Use a smaller batch.")
    card.get_by_text("Out of memory").wait_for()
    assert cancelled == ["run-1"]
    card.get_by_role("button", name="Hide this job here").click()
    page.reload()
    page.locator("#train-jobs [data-job=run-2]").wait_for()
    assert page.locator("#train-jobs [data-job=run-1]").count() == 0


@pytest.mark.browser
def test_the_plan_follows_the_form_and_says_what_is_wrong_with_it(page: Page, trained: str) -> None:
    page.goto("/train")
    plan = page.locator("#train-plan")
    plan.locator(".rp-warnings li, .rs-kpi").first.wait_for()  # the page has loaded and planned what stands in the form
    page.get_by_label("Seeds").press_sequentially("-x")
    plan.get_by_text("Seeds are").wait_for()
    for method in ("sft", "ref_teacher"):
        page.locator(f"[data-method={method}]").click()
    plan.get_by_text("Choose at least one method").wait_for()
    assert page.locator("[data-method=ref_teacher]").get_attribute("aria-checked") == "false"


@pytest.mark.browser
def test_a_picked_run_is_drawn_and_is_still_picked_after_a_reload(page: Page, trained: str) -> None:
    page.goto("/train")
    page.locator(f"#train-runs tr[data-run={trained}]").click()
    title = page.locator("#live-run .lr-title")
    title.get_by_text("Ref-Teacher").first.wait_for()
    page.get_by_text("30 of 30").wait_for()
    page.locator("#live-run figure canvas").first.wait_for()
    assert trained in page.url
    page.reload()
    page.locator(f"#train-runs tr[data-run={trained}][aria-selected=true]").wait_for()
