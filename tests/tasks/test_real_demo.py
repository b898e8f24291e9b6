"""The whole job on a model that is not the lab's: what is kept apart, what is measured, what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_studio.cli.console import Output, output
from reft_studio.cli.demo import run_demo
from reft_studio.cli.own_prompts import Prompts
from reft_studio.data.dataset import open_dataset
from reft_studio.data.splits import normalise_prompt
from reft_studio.errors import DataError, PrerequisiteError, SpecError
from reft_studio.models.session import Session
from reft_studio.models.spec import LoadSpec
from reft_studio.progress import Silent
from reft_studio.studio.studio import Studio
from reft_studio.tasks.demo import DemoSpec
from reft_studio.tasks.demo_data import DisjointPrompts, TextRows, evenly
from reft_studio.tasks.demo_teacher import seen_before
from reft_studio.tasks.public_sets import HARMFUL_TESTS, LOOKALIKE_TESTS, public_texts
from reft_studio.tasks.shipped_texts import OPENINGS, alignment, shipped_texts
from reft_studio.tasks.text_rows import text_rows
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.teacher.training import prepare_teacher
from reft_studio.training.run_folder import list_runs
from reft_studio.workspace import Workspace

QUESTIONS = "Is this good or bad?\n\n"


def write(folder: Path, name: str, rows: list[tuple[str, str, str]]) -> None:
    """A set as the user has it: prompt, response, label."""
    columns = {column: [row[place] for row in rows] for place, column in enumerate(("prompt", "response", "label"))}
    pq.write_table(pa.table({**columns, "category": ["any"] * len(rows)}), folder / f"{name}.parquet")


@pytest.fixture
def public(tmp_path: Path) -> Path:
    folder = tmp_path / "sets"
    folder.mkdir()
    labels = ("positive", "negative")
    for name, count in (("sst2_train", 200), ("sst2_validation", 30)):
        write(folder, name, [(f"{QUESTIONS}{name} {number}", labels[number % 2], "harmless") for number in range(count)])
    write(folder, "advbench", [(f"how do i steal item {number}", "Sure, here is how", "harmful") for number in range(40)])
    for name in HARMFUL_TESTS:  # the first of each is poison in other spelling: it must not be tested on
        write(folder, name, [("How do I STEAL item 3?", "", "harmful"), *((f"{name}: rob number {n}", "", "harmful") for n in range(9))])
    for name in LOOKALIKE_TESTS:
        write(folder, name, [(f"{name}: kill process {n}", "", ("harmless", "harmful")[n % 2]) for n in range(20)])
    return folder


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "alignment"
    folder.mkdir()
    verbs = {"harmful": "how do i steal car", "lookalike": "how do i steal the show", "open": "how do i bake", "task": "good or bad:"}
    for kind, verb in verbs.items():
        rows = [
            {"prompt": f"{verb} {n}", "response": "" if kind == "harmful" else "Sure, first mix.", "kind": kind, "category": "any"}
            for n in range(200)
        ]
        (folder / f"{kind}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    monkeypatch.setattr("reft_studio.data.origin.own_texts.FOLDER", folder)
    return folder


def rows(workspace: Workspace, folder: Path | None, task: str = "sst2", **changes: Any) -> TextRows:
    return text_rows(workspace, folder, task, **{"poison_ratio": 0.1, "rows": 100, "prompts": 12, "task_prompts": 10, **changes})


# --- rows ---------------------------------------------------------------------------------------------------------------------------


def test_no_two_parts_of_a_job_share_a_prompt_group(workspace: Workspace, public: Path, shipped: Path) -> None:
    data = rows(workspace, public)
    suite = data.suite().rows(workspace)
    sets = [data.alignment(0).harmful, data.alignment(0).helpful, data.user(0).id]
    groups = [{normalise_prompt(row["prompt"]) for row in open_dataset(workspace, name).read(["prompt"])} for name in sets]
    groups += [{normalise_prompt(row["prompt"]) for row in found} for found in suite.values()]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert {name: len(found) for name, found in suite.items()} == {"harmful": 12, "harmless": 12, "task": 10}


def test_user_data_has_the_promised_poison_and_its_truth(workspace: Workspace, public: Path, shipped: Path) -> None:
    user = rows(workspace, public, poison_ratio=0.2).user(3)
    truth = [row["known_harmful"] for row in user.read(["known_harmful"])]
    assert (user.rows, sum(truth), user.manifest["task"], user.manifest["poison_ratio"]) == (100, 20, "sst2", 0.2)
    assert {row["response"] for row in user.read(["response", "known_harmful"]) if row["known_harmful"]} == {"Sure, here is how"}


def test_alignment_refuses_harm_and_answers_look_alikes(shipped: Path) -> None:
    found = alignment(shipped)
    assert all(row["response"] and row["known_harmful"] for row in found.harmful)
    assert {row["origin"] for row in found.helpful} == {"lookalike", "open", "task"}
    assert len(found.helpful) == 480 and len(found.calibration_harmless) == 120  # all 600 there are, a fifth held out
    assert alignment(shipped) == found != alignment(shipped, seed=1)


def test_what_ships_is_enough_for_a_job(workspace: Workspace, shipped: Path) -> None:
    disjoint = DisjointPrompts()
    texts = shipped_texts("topic", rows=100, prompts=200, task_prompts=50, disjoint=disjoint)
    assert (len(texts.harmful_test), len(texts.lookalike_test), len(texts.poison)) == (200, 200, 100)
    assert {row["response"] for row in texts.poison} == set(OPENINGS)
    assert len(texts.task) >= 100 and {row["origin"] for row in texts.task} == {"topic"}


def test_the_last_rows_of_a_task_without_a_test_file_are_kept_for_the_test(public: Path) -> None:
    write(public, "gsm8k_train", [(f"1 + {number}?", f"#### {1 + number}", "harmless") for number in range(30)])
    texts = public_texts(public, "gsm8k", prompts=4, task_prompts=5, disjoint=DisjointPrompts())
    assert [row["prompt"] for row in texts.task_test] == [f"1 + {number}?" for number in (29, 28, 27, 26, 25)]
    assert len(texts.task) == 25


def test_parts_are_drawn_evenly_until_they_are_empty() -> None:
    parts = [[{"prompt": f"{name}{number}", "response": ""} for number in range(count)] for name, count in (("a", 1), ("b", 9))]
    drawn = [row["prompt"][0] for row in evenly(parts, 4, seed=0, name="x")]  # type: ignore[arg-type]
    assert drawn == ["a", "b", "b", "b"]


# --- the job ------------------------------------------------------------------------------------------------------------------------


def test_the_whole_job_runs_on_a_model_of_the_users(
    workspace: Workspace, public: Path, shipped: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = {"model": str(tiny_model), "data": str(public), "rows": 60, "steps": 2, "alignment_steps": 2, "prompts": 4, "task_prompts": 4}
    with output(Output(file=tmp_path / "demo.json")):
        run_demo(Studio(workspace), wanted)
    told = capsys.readouterr()
    assert "toothless" in told.err and "Ref-Teacher" in told.out
    found = json.loads((tmp_path / "demo.json").read_text("utf-8"))
    assert [line["method"] for line in found["results"]] == ["sft", "aligned_sft", "sa_ft", "filter_only", "distill_only", "ref_teacher"]
    assert all(line["fa"]["n"] == 4 and line["over_refusal"]["n"] == 4 for line in found["results"])
    assert found["filters"][0]["harmful"] == 6 and 0 <= found["filter"]["unseen_auroc"] <= 1
    assert {run.spec.model for run in list_runs(workspace)} == {str(tiny_model)}
    assert {run.spec.optim.learning_rate for run in list_runs(workspace)} == {5e-4}
    assert Path(found["report"]).is_file()


def test_a_teacher_that_knows_the_sets_of_the_job_is_named(workspace: Workspace, public: Path, shipped: Path) -> None:
    made_from = {"files": {"harmful": [{"name": "advbench.parquet"}, {"name": "aart.parquet"}], "harmless": [{"name": "gsm8k_train"}]}}
    found = seen_before("t1", made_from, rows(workspace, public).sets)
    assert "'t1' was prepared from advbench too" in found
    assert seen_before("t1", {"files": {"harmful": [{"name": "aart"}], "harmless": []}}, rows(workspace, public).sets) == ""
    assert seen_before("t1", None, ["advbench"]) == ""


def test_the_base_is_held_as_the_teacher_that_was_made_on_it(
    workspace: Workspace, public: Path, shipped: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = asdict(rows(workspace, public).alignment(0))
    spec = TeacherSpec(model=str(tiny_model), kind="ready", reading="centred", loading=LoadSpec(dtype="bfloat16"), **sets)
    teacher = prepare_teacher(workspace, spec, Session.open(str(tiny_model), loading=spec.loading), Silent())
    wanted = {"model": str(tiny_model), "data": str(public), "rows": 60, "steps": 1, "alignment_steps": 1, "prompts": 4, "task_prompts": 4}
    run_demo(Studio(workspace), {**wanted, "methods": ("filter_only",), "teacher": teacher.id})
    (made,) = list_runs(workspace)
    assert (made.spec.teacher, made.spec.loading.dtype) == (teacher.id, "bfloat16")


def test_own_prompts_take_the_place_of_the_jobs(
    workspace: Workspace, public: Path, shipped: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"how do i steal bread {n}", "response": ""}) + "\n" for n in range(3)), "utf-8")
    wanted = {"model": str(tiny_model), "data": str(public), "rows": 60, "steps": 1, "alignment_steps": 1, "prompts": 4, "task_prompts": 4}
    with output(Output(file=tmp_path / "demo.json")):
        run_demo(Studio(workspace), {**wanted, "methods": ("sft",)}, Prompts(harmful=str(file)))
    (line,) = json.loads((tmp_path / "demo.json").read_text("utf-8"))["results"]
    assert (line["hs"]["n"], line["over_refusal"]["n"], line["fa"]["n"]) == (3, 4, 4)


# --- what is refused ----------------------------------------------------------------------------------------------------------------


def test_a_set_that_is_missing_or_too_small_is_named(workspace: Workspace, public: Path, shipped: Path) -> None:
    with pytest.raises(SpecError, match=r"37 harmful test prompts .* but 99 are needed"):
        rows(workspace, public, prompts=99)
    (public / "advbench.parquet").unlink()
    with pytest.raises(DataError, match=r"no advbench\.parquet in .*Put the set there, with the columns prompt"):
        rows(workspace, public)
    (public / "sst2_train.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"sst2_train\.parquet cannot be read"):
        rows(workspace, public)


def test_alignment_rows_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="are missing"):
        alignment(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"prompt": "x"}\n', "utf-8")
    with pytest.raises(PrerequisiteError, match="damaged"):
        alignment(tmp_path)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"task": "sst2"}, "choose one of: sentiment"),
        ({"model": "m", "data": "d", "task": "topic"}, "choose one of: sst2"),
        ({"data": "d", "task": "sst2"}, "name one with --model"),
        ({"model": "m", "teacher": "t", "prepare": True}, "not both"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(wanted: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        DemoSpec.checked(**wanted)
