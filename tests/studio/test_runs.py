"""All runs are listed, finished or not; they keep what people say of them, and tell in which settings they differ."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from reft_studio.errors import SpecError, StoreError
from reft_studio.jobs.run_jobs import became
from reft_studio.studio import run_curves
from reft_studio.studio.past_runs import PastRun
from reft_studio.studio.run_curves import POINTS, thinned
from reft_studio.studio.studio import Studio
from reft_studio.tasks import lab_data
from reft_studio.training.run_names import titles
from reft_studio.workspace import Workspace
from tests.commands import Command
from tests.ui.finished_runs import answer_like, write_attempt, write_run


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Workspace, str, str]:
    workspace = Workspace.open(tmp_path / "workspace")
    return workspace, write_run(workspace, "sft", steps=40), write_run(workspace, "sft", steps=80, seed=1)


def every(workspace: Workspace) -> dict[str, PastRun]:
    return {one.run_id: one for one in Studio(workspace).runs.every()}


# --- what is said of runs ----------------------------------------------------------------------------------------------------------


def test_a_name_tags_and_a_note_are_kept_and_each_can_be_changed_alone(runs: tuple[Workspace, str, str]) -> None:
    workspace, first, second = runs
    history = Studio(workspace).runs
    history.say(first, by="Ana", name=" the  baseline ", tags=["paper", "Paper", "june"], note="Kept for the report.")
    history.say(first, note="")
    kept = every(workspace)[first]
    assert (kept.title, kept.note.tags, kept.note.note, kept.note.edited_by) == ("the baseline", ("paper", "june"), "", "")
    assert kept.generated == "Plain SFT, 40 steps"
    assert titles(workspace)[first] == "the baseline" and titles(workspace)[second] == "Plain SFT, 80 steps"
    history.say(first, name="")
    assert titles(workspace)[first] == "Plain SFT, 40 steps"


def test_a_name_that_another_run_has_a_long_one_and_a_run_that_is_not_there_are_refused(runs: tuple[Workspace, str, str]) -> None:
    workspace, first, second = runs
    history = Studio(workspace).runs
    history.say(first, name="baseline")
    for taken in ("baseline", "Baseline"):
        with pytest.raises(SpecError, match=f"Another run is called '{taken}'"):
            history.say(second, name=taken)
    history.say(first, name="")
    with pytest.raises(SpecError, match="Another run is called 'plain SFT, 40 steps'"):
        history.say(second, name="plain SFT, 40 steps")
    with pytest.raises(SpecError, match="at most 80"):
        history.say(second, name="x" * 81)
    with pytest.raises(StoreError, match="no run"):
        history.say("r" + "0" * 12, name="nobody")


def test_a_run_is_named_while_it_trains_also_by_the_id_it_had_before_it_was_ended(workspace: Workspace) -> None:
    run, job = write_attempt(workspace, "running")
    history = Studio(workspace).runs
    history.say(run, name="the first")
    assert history.jobs.get(job).title == "the first"
    saved = write_run(workspace, "sft", stop_after=12)
    became(workspace, job, asked=run, run=saved)
    history.say(run, tags=["late"])
    assert (every(workspace)[saved].title, every(workspace)[saved].note.tags, run in every(workspace)) == ("the first", ("late",), False)


# --- how they stand ----------------------------------------------------------------------------------------------------------------


def test_every_run_is_listed_with_how_far_it_came_and_those_that_go_on_first(workspace: Workspace) -> None:
    finished = write_run(workspace, "sft", steps=40)
    answer_like(workspace, finished, "sft")
    wanted = {
        "failed": write_attempt(workspace, "failed", message="Loss is infinite.", seed=1)[0],
        "cancelled": write_attempt(workspace, "cancelled", kept=True, seed=2)[0],
        "interrupted": write_attempt(workspace, "interrupted", told=0, seed=3)[0],
        "paused": write_attempt(workspace, "paused", kept=True, seed=4)[0],
        "training": write_attempt(workspace, "running", seed=5)[0],
        "queued": write_attempt(workspace, "queued", seed=6)[0],
        "finished": finished,
    }
    found = every(workspace)
    assert {one.state: one.run_id for one in found.values()} == wanted
    assert {next(iter(found)), *list(found)[1:3]} == {wanted["training"], wanted["queued"], wanted["paused"]}
    said = {one.state: one.progress for one in found.values()}
    assert said == {
        "failed": "at step 12 of 40",
        "cancelled": "goes on after step 10 of 40",
        "interrupted": "",
        "paused": "goes on after step 10 of 40",
        "training": "step 12 of 40",
        "queued": "",
        "finished": "",
    }
    assert found[wanted["failed"]].message == "Loss is infinite." and found[finished].hs is not None
    assert len({one.title for one in found.values()}) == len(found)


def test_a_run_that_never_began_is_none_and_one_that_was_finished_later_is_listed_once(workspace: Workspace) -> None:
    run, job = write_attempt(workspace, "queued")
    history = Studio(workspace).runs
    history.jobs.cancel(job)
    assert history.every() == []
    write_attempt(workspace, "failed")
    write_attempt(workspace, "cancelled")
    assert [(one.run_id, one.state) for one in history.every()] == [(run, "cancelled")], "the newest attempt counts"


def test_checkpoints_without_a_job_are_a_run_that_goes_on(workspace: Workspace) -> None:
    run, _ = write_attempt(workspace, "cancelled", kept=True)
    Studio(workspace).runs.delete(run)
    again, _ = write_attempt(workspace, "queued", kept=True)
    Studio(workspace).runs.jobs.cancel(Studio(workspace).runs.every()[0].job)
    (left,) = Studio(workspace).runs.every()
    assert (left.run_id, left.state, left.progress, left.job) == (again, "left", "goes on after step 10 of 40", "")
    assert again == run and left.title.startswith("Plain SFT")


def test_a_run_that_was_stopped_and_saved_says_after_how_many_steps(workspace: Workspace) -> None:
    write_run(workspace, "sft", steps=160, stop_after=40)
    (found,) = Studio(workspace).runs.every()
    assert (found.state, found.progress, found.is_finished) == ("saved", "after 40 of 160 steps", True)


def test_a_damaged_evaluation_is_said_and_hides_no_run(workspace: Workspace) -> None:
    run = write_run(workspace, "sft")
    answer_like(workspace, run, "sft")
    (workspace.folder("evaluations", run) / "result.json").write_text("{", "utf-8")
    (found,) = Studio(workspace).runs.every()
    assert found.hs is None and "damaged" in found.message


# --- curves ------------------------------------------------------------------------------------------------------------------------


def test_a_long_curve_is_thinned_to_the_means_of_its_stretches() -> None:
    assert thinned([(1, 2.0), (2, 4.0)]) == ((1, 2.0), (2, 4.0))
    found = thinned([(step, float(step)) for step in range(1, 6001)])
    assert len(found) == POINTS and found[0] == (100, 50.5) and found[-1][0] == 6000


def test_a_log_is_read_once_and_of_a_run_on_its_way_only_what_is_new(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(workspace, "sft", steps=40)
    run, job = write_attempt(workspace, "running", told=3, seed=1)
    history = Studio(workspace).runs
    first = {one.run_id: one.curve for one in history.every()}
    assert [step for step, _ in first[run]] == [1, 2, 3]
    asked: list[int] = []
    metrics = history.jobs.metrics
    monkeypatch.setattr(history.jobs, "metrics", lambda job, offset: (asked.append(offset), metrics(job, offset))[1])
    read = run_curves._of_log.cache_info().misses
    assert {one.run_id: one.curve for one in history.every()} == first and asked == []
    assert run_curves._of_log.cache_info().misses == read
    events = workspace.folder("jobs", job) / "events.jsonl"
    begin = len(events.read_bytes())
    told = events.read_bytes().splitlines(keepends=True)[-1]
    events.write_bytes(events.read_bytes() + told)  # a step that is told again, after a checkpoint
    assert [step for step, _ in next(one.curve for one in history.every() if one.run_id == run)] == [1, 2, 3]
    assert asked and all(offset % (1 << 40) >= begin for offset in asked)


def test_twenty_runs_are_listed_in_a_moment(workspace: Workspace) -> None:
    for seed in range(20):
        write_run(workspace, "sft", seed=seed, steps=400)
    history = Studio(workspace).runs
    assert len(history.every()) == 20
    began = time.process_time()
    for _ in range(5):
        history.every()
    assert (time.process_time() - began) / 5 < 0.15, "a look at every run, as a page takes it every few seconds"


# --- differences -------------------------------------------------------------------------------------------------------------------


def test_runs_differ_in_the_settings_that_were_changed_and_in_no_others(runs: tuple[Workspace, str, str]) -> None:
    workspace, first, second = runs
    history = Studio(workspace).runs
    assert {one.key: one.values for one in history.differences(first, second)} == {"optim.steps": ("40", "80"), "seed": ("0", "1")}
    assert history.differences(first, first) == []
    third, _ = write_attempt(workspace, "failed", seed=1, lora={"rank": 4})
    found = {one.label: one.values for one in history.differences(first, second, third)}
    assert (found["LoRA: Rank"], found["Training: Steps"], found["Seed"]) == (("16", "16", "4"), ("40", "80", "40"), ("0", "1", "1"))


def test_a_setting_that_only_one_method_has_is_not_set_in_the_other(workspace: Workspace) -> None:
    runs = write_run(workspace, "sft"), write_run(workspace, "ref_teacher")
    found = {one.label: one.values for one in Studio(workspace).runs.differences(*runs)}
    assert found["Method: Alpha"][0] == "not set" and found["Method"] == ("Plain SFT", "Ref-Teacher")


def test_the_studio_has_the_history(workspace: Workspace) -> None:
    run = write_run(workspace, "sft")
    assert [one.run_id for one in Studio(workspace).runs.every()] == [run]


def test_the_verb_lists_names_compares_and_refuses_words_for_two(command: Command, runs: tuple[Workspace, str, str]) -> None:
    workspace, first, second = runs
    write_attempt(workspace, "failed", message="Loss is infinite.", seed=7)
    place = ("--workspace", str(workspace.root))
    listed = command("runs", *place).out
    assert "Plain SFT, 80 steps" in listed and "Failed, at step 12 of 40" in listed and "Loss is infinite." in listed
    assert command("runs", first, "--name", "baseline", "--tag", "june", "--json", *place).json[0]["note"]["tags"] == ["june"]
    assert {one["key"] for one in command("runs", first, second, "--json", *place).json} == {"optim.steps", "seed"}
    assert "2 runs are named" in command("runs", first, second, "--name", "both", *place).err


def test_a_run_that_was_not_finished_goes_on_and_one_that_was_does_not(workspace: Workspace) -> None:
    history = Studio(workspace).runs
    failed, job = write_attempt(workspace, "failed", seed=1)
    assert history.go_on(failed) == job and history.jobs.get(job).state == "queued"
    with pytest.raises(SpecError, match="cannot go on: waits already"):
        history.go_on(failed)
    left, _ = write_attempt(workspace, "queued", kept=True, seed=2)
    history.jobs.cancel(history.find(left).job)
    again = history.jobs.get(history.go_on(left))
    assert (again.state, again.run) == ("queued", left) and again.params["suite"] is not None
    with pytest.raises(SpecError, match="cannot go on: finished already"):
        history.go_on(write_run(workspace, "sft"))


def test_data_of_one_name_is_told_apart_by_its_id(workspace: Workspace) -> None:
    small, large = (lab_data.sample(workspace, rows=rows) for rows in (60, 80))
    runs = [write_attempt(workspace, "failed", on=data.id)[0] for data in (small, large)]
    (found,) = Studio(workspace).runs.differences(*runs)
    assert found.values == (f"lab sentiment, 10% poison ({small.id})", f"lab sentiment, 10% poison ({large.id})")
