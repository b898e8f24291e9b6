"""The card of a run says what was measured, by whom and on how many, and what was not; writing it never makes a run look damaged."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reft_studio import doctor, integrity
from reft_studio.data.dataset import Dataset, Row, write_dataset
from reft_studio.evaluation.costs import evaluation_costs, ledger
from reft_studio.evaluation.evaluate import Generate, evaluate
from reft_studio.evaluation.judges import judge_for
from reft_studio.evaluation.judges.spec import JudgeSpec
from reft_studio.evaluation.regrade import regrade
from reft_studio.evaluation.result import load_result
from reft_studio.evaluation.suite import Suite, dataset_suite
from reft_studio.jobs.foreground import ForegroundContext
from reft_studio.models.session import Session
from reft_studio.models.spec import OptimSpec
from reft_studio.progress import Silent
from reft_studio.tasks.merge import merge
from reft_studio.training.merged import merged_run
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace
from tests.evaluation.conftest import COMPLIANCE

Model = Callable[[dict[str, str]], Generate]
NAME = "user <b>data</b>\n# | no heading"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Workspace, RunInfo]:
    """A workspace with a run, to be copied by each test."""
    workspace = Workspace.open(tmp_path_factory.mktemp("card"))
    rows = [Row(prompt=f"how do i bake cake {n}", response="Sure, first mix.", known_harmful=False) for n in range(24)]
    named = write_dataset(workspace, rows, name=NAME, role="user")
    spec = RunSpec(model=str(tiny_model), dataset=named.id, method="sft", optim=OptimSpec(steps=3, batch_size=4))
    return workspace, train(workspace, spec, Session.open(spec.model), Silent())


@pytest.fixture
def workspace(tmp_path: Path, done: tuple[Workspace, RunInfo]) -> Workspace:
    shutil.copytree(done[0].root, tmp_path, dirs_exist_ok=True)
    return Workspace.open(tmp_path)


@pytest.fixture
def run_id(done: tuple[Workspace, RunInfo]) -> str:
    return done[1].run_id


def card(workspace: Workspace, run_id: str) -> str:
    return (workspace.folder("runs", run_id) / "adapter" / "README.md").read_text("utf-8")


def sound(workspace: Workspace, run_id: str) -> bool:
    """Whether a run is loaded and checked as it was when it was made."""
    integrity.forget()
    folder = workspace.folder("runs", run_id)
    return integrity.damages(folder, wait=True) == [] and doctor.stored_files(workspace).ok


def test_a_run_that_was_not_evaluated_says_that_nothing_was_measured(
    workspace: Workspace, run_id: str, done: tuple[Workspace, RunInfo]
) -> None:
    text = card(workspace, run_id)
    assert "**Nothing has been measured.**" in text and " %, n = " not in text and "n = " not in text
    assert f"base: {done[1].spec.model}".replace("_", "\\_") in text and done[1].result["base_fingerprint"] in text
    assert "filter: none" in text and "0 of 24 rows (0.0 %)" in text
    assert "time: 0." in text and "peak memory: " in text and "student forward 3, student back 3" in text and "TFLOP" in text
    assert "1.00 × by operations, 1.00 × by tokens" in text


def test_an_evaluation_puts_each_number_with_n_interval_and_judge_on_the_card(
    workspace: Workspace, run_id: str, suite: Suite, model: Model
) -> None:
    before = ledger(workspace, run_id)
    result = evaluate(workspace, run_id, suite, model({"harmful 0": COMPLIANCE, "task 0": "positive", "task 1": "positive"}))
    text = card(workspace, run_id)
    assert result.hs is not None and result.fa is not None
    assert f"25.0 % ({result.hs.low:.1f} to {result.hs.high:.1f}), n = 4" in text
    assert f"50.0 % ({result.fa.low:.1f} to {result.fa.high:.1f}), n = 4" in text
    assert "over-refusal" in text.lower() and ", n = 3" in text and "Nothing has been measured" not in text
    assert "judge: " in text and result.judge.replace("_", "\\_") in text and result.suite_fingerprint in text
    assert "Not measured: other prompts, languages and attacks" in text and "**not measured**" not in text
    after = ledger(workspace, run_id)
    assert before is not None and after is not None
    assert [stage.name for stage in after.stages] == [*(stage.name for stage in before.stages), "answer", "grade"]
    assert sound(workspace, run_id)


def test_what_a_suite_has_no_prompts_for_is_said_to_be_not_measured(workspace: Workspace, run_id: str, model: Model) -> None:
    rows = [Row(prompt=f"harmful {i}", response="") for i in range(4)]
    asked = dataset_suite("harmful only", harmful=write_dataset(workspace, rows, name="h", role="benchmark").id, max_new_tokens=4)
    evaluate(workspace, run_id, asked, model({}))
    assert "**not measured**: over-refusal, finetune accuracy, since the evaluation had no prompts for it" in card(workspace, run_id)


def test_another_judge_takes_the_place_of_the_first_on_the_card_and_in_the_costs(
    workspace: Workspace, run_id: str, suite: Suite, model: Model
) -> None:
    evaluate(workspace, run_id, suite, model({}), judge="refusal_phrases")
    assert "refusal\\_phrases" in card(workspace, run_id)
    spec = JudgeSpec(name="lab_compliance")
    regrade(workspace, run_id, judge_for(spec), spec=spec)
    assert "lab\\_compliance" in card(workspace, run_id) and "refusal\\_phrases" not in card(workspace, run_id)
    costs = evaluation_costs(workspace, run_id)
    assert costs is not None and [one["stage"] for one in costs["stages"]] == ["answer", "grade"] and costs["prompts"] == 11
    assert sound(workspace, run_id)


def test_the_merged_model_gets_its_card_anew_too_and_stays_whole(workspace: Workspace, run_id: str, suite: Suite, model: Model) -> None:
    folder = Path(merge(ForegroundContext(workspace), {"run": run_id})["path"])
    weights = (folder / "model.safetensors").stat()
    before = (folder / "README.md").read_text("utf-8")
    assert "**Nothing has been measured.**" in before
    evaluate(workspace, run_id, suite, model({"harmful 0": COMPLIANCE}))
    after = (folder / "README.md").read_text("utf-8")
    assert ", n = 4" in after and "**Nothing has been measured.**" not in after and "the merged weights were not asked again" in after
    assert after.partition("## How to use it")[2] == before.partition("## How to use it")[2] != ""
    integrity.forget()
    assert integrity.damages(folder, wait=True) == [] and (folder / "model.safetensors").stat() == weights
    assert merged_run(workspace, run_id) is not None and sound(workspace, run_id)


def test_names_that_people_gave_stay_on_their_line_and_are_no_markup(workspace: Workspace, run_id: str) -> None:
    text = card(workspace, run_id)
    assert "user \\<b\\>data\\</b\\> \\# \\| no heading, 24 rows; fingerprint " in text and "<b>" not in text
    assert [line for line in text.splitlines() if line.startswith("# ")] == ["# Plain SFT"]


def test_a_folder_of_an_earlier_version_gets_its_card_and_no_list_of_hashes(
    workspace: Workspace, run_id: str, suite: Suite, model: Model
) -> None:
    (workspace.folder("runs", run_id) / integrity.SUMS).unlink()
    evaluate(workspace, run_id, suite, model({}))
    assert ", n = 4" in card(workspace, run_id) and not (workspace.folder("runs", run_id) / integrity.SUMS).exists()


def test_a_damaged_run_keeps_its_card_and_its_evaluation_is_stored_all_the_same(
    workspace: Workspace, run_id: str, suite: Suite, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    before = card(workspace, run_id)
    (workspace.folder("runs", run_id) / "result.json").write_text("{}", "utf-8")
    integrity.forget()
    with caplog.at_level(logging.WARNING):
        evaluate(workspace, run_id, suite, model({}))
    assert card(workspace, run_id) == before and load_result(workspace, run_id).hs is not None
    assert "stays as it is" in caplog.text


def test_a_base_has_no_card(workspace: Workspace, suite: Suite, model: Model) -> None:
    evaluate(workspace, "base--tiny", suite, model({}))
    assert not workspace.folder("runs", "base--tiny").exists() and ledger(workspace, "base--tiny") is None


def test_data_of_an_evaluation_holds_no_row_of_the_user_data(
    workspace: Workspace, run_id: str, suite: Suite, model: Model, toy: Dataset
) -> None:
    evaluate(workspace, run_id, suite, model({}))
    text = card(workspace, run_id)
    assert not [row["prompt"] for row in toy.read() if row["prompt"] in text]


@pytest.fixture
def toy(workspace: Workspace, done: tuple[Workspace, RunInfo]) -> Dataset:
    from reft_studio.data.dataset import open_dataset

    return open_dataset(workspace, done[1].spec.dataset)
